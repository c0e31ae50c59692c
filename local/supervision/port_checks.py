"""Refuse a taken port before anything starts."""

from core.settings import Settings, SettingsError
from local.services import ports
from local.settings import LocalSettings


class PortTaken(Exception):
    """Another process listens on a port of ours."""

    def __init__(self, port: int, variable: str) -> None:
        super().__init__(f"Port {port} on 127.0.0.1 is taken or forbidden: set {variable} to another one.")


def require_free_ports(settings: LocalSettings) -> None:
    """Raise `PortTaken` unless the API and the broker can listen."""
    for port, name in ((settings.http_port, "HTTP"), (settings.mqtt_port, "MQTT")):
        if not ports.is_free(port):
            raise PortTaken(port, f"MILEPOST_{name}_PORT")


def require_free_metrics_ports(settings: LocalSettings, children: Settings) -> None:
    """Raise `PortTaken` or `SettingsError` unless the children can serve their metrics."""
    # A child would fail on a taken port at each restart.
    used = {settings.http_port: "HTTP", settings.mqtt_port: "MQTT"}
    wanted = {
        "INGEST_METRICS": children.ingest_metrics_port,
        "JOBS_METRICS": children.jobs_metrics_port,
    }
    for name, port in wanted.items():
        if port is None:
            continue
        if port in used:
            raise SettingsError(f"MILEPOST_{name}_PORT and MILEPOST_{used[port]}_PORT must differ")
        if not ports.is_free(port):
            raise PortTaken(port, f"MILEPOST_{name}_PORT")
        used[port] = name
