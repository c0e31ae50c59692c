"""What `milepost up` prints when everything runs. Pure."""

from pathlib import Path

DEMO_LOGINS = (
    "manager@demo.example",
    "operator@demo.example",
    "driver1@demo.example",
    "customer1@demo.example",
)


def render(
    *,
    http_url: str,
    mqtt_port: int,
    data_dir: Path,
    command: str,
    password: str,
    operator: tuple[str, str] | None,
) -> str:
    """``command``: how to call us again. ``operator``: the demo operator's MQTT login, or no demo."""
    lines = [
        "",
        "Milepost runs. Ctrl-C stops it.",
        f"  API and its documentation  {http_url}/docs",
        f"  MQTT                       mqtt://127.0.0.1:{mqtt_port}",
        f"  logs                       {data_dir / 'logs'}",
    ]
    if operator is None:
        return "\n".join([*lines, *_first_steps(command), ""])
    user, secret = operator
    lines += [f"  password                   {password}   for each of"]
    lines += [f"                             {login}" for login in DEMO_LOGINS]
    lines += [
        "  the fleet as it moves:",
        f"    mosquitto_sub -h 127.0.0.1 -p {mqtt_port} -u {user} -P '{secret}' -t 'fleet/demo/#' -v",
        "",
    ]
    return "\n".join(lines)


def _first_steps(command: str) -> list[str]:
    return [
        "  It is empty. In another terminal, a company with its first manager:",
        f"    {command} company add my-company --manager-email me@my-company.example",
    ]
