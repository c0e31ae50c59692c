"""What the files for Docker promise; no engine is needed to read them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.access_control import plugin_watch
from core.settings import Settings
from local.settings import LocalSettings

PROJECT = Path(__file__).parents[3]
OTHER_VARIABLES = {"POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB"}
OURS = {"migrate", "broker-users", "ingest", "jobs", "api"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return document


def test_compose_has_the_seven_services(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "mosquitto", *OURS}
    assert compose["services"]["postgres"]["image"] == "postgres:18"
    assert compose["services"]["mosquitto"]["image"] == "eclipse-mosquitto:2.0"


def test_every_published_port_is_on_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_all_that_keep_running_have_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {name for name in services if "healthcheck" not in services[name]} == {"migrate"}


@pytest.mark.parametrize("name", ["ingest", "jobs", "api"])
def test_health_checks_over_http_go_past_a_proxy(compose: dict[str, Any], name: str) -> None:
    assert compose["services"][name]["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "local.loopback"]


def test_mosquitto_waits_until_its_users_are_written(compose: dict[str, Any]) -> None:
    mosquitto, migrate = compose["services"]["mosquitto"], compose["services"]["migrate"]
    assert mosquitto["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert "mosquitto-security:/mosquitto/security" in migrate["volumes"]
    assert "mosquitto-security:/mosquitto/security" in mosquitto["volumes"]
    assert "plugin_opt_config_file /mosquitto/security/dynamic-security.json\n" in _conf()
    assert "--path /mosquitto/security/dynamic-security.json" in migrate["command"][0]


def test_mosquitto_starts_only_after_its_users_were_looked_at(compose: dict[str, Any]) -> None:
    mosquitto, watch = compose["services"]["mosquitto"], compose["services"]["broker-users"]
    folder = "/mosquitto/security"
    assert mosquitto["command"][:3] == ["/bin/sh", "/mosquitto/config/start.sh", folder]
    assert mosquitto["depends_on"]["broker-users"]["condition"] == "service_started"
    assert f"mosquitto-security:{folder}" in watch["volumes"]
    assert watch["user"] == "1883:1883"
    assert watch["command"] == ["broker", "watch", "--path", f"{folder}/dynamic-security.json"]
    assert watch["healthcheck"]["test"][-1] == f"{folder}/{plugin_watch.CHECKED}"
    assert f'"$folder/{plugin_watch.CHECKED}"' in (PROJECT / "broker" / "start.sh").read_text()


@pytest.mark.parametrize(
    "name", ["postgres", "mosquitto", "migrate", "broker-users", "ingest", "jobs", "api"]
)
def test_every_containers_log_is_bounded(compose: dict[str, Any], name: str) -> None:
    logging = compose["services"][name]["logging"]
    assert logging == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}


def test_mosquittos_files_are_its_own_wherever_the_clone_came_from(compose: dict[str, Any]) -> None:
    mosquitto, migrate = compose["services"]["mosquitto"], compose["services"]["migrate"]
    assert not any(volume.startswith((".", "/")) for volume in mosquitto["volumes"])
    assert "mosquitto-config:/mosquitto/config:ro" in mosquitto["volumes"]
    assert "mosquitto-config:/mosquitto/config" in migrate["volumes"]
    (installed,) = re.findall(
        r"install -o 1883 -g 1883 -m 0640 (.*) /mosquitto/config$", _script(compose), re.M
    )
    assert installed.split() == ["mosquitto.conf", "broker/mosquitto.acl", "broker/start.sh"]
    assert _directive("acl_file") == "/mosquitto/config/mosquitto.acl"
    targets = [volume.split(":")[1] for volume in mosquitto["volumes"]]
    assert _directive("persistence_location").rstrip("/") in targets
    in_the_image = (PROJECT / ".dockerignore").read_text().splitlines()
    assert {"!mosquitto.conf", "!broker"} <= set(in_the_image)


def test_a_clone_under_a_strict_umask_can_be_read_in_the_image() -> None:
    _, builder, image = (PROJECT / "Dockerfile").read_text().split("\nFROM ")
    assert builder.index("COPY . .") < builder.index("RUN chmod -R a+rX /app")
    assert "COPY --from=builder /app /app" in image


def test_the_image_is_built_once_and_before_all_that_use_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name in services if "build" in services[name]] == ["migrate"]
    assert {services[name]["image"] for name in OURS} == {"milepost:local"}
    assert {services[name]["pull_policy"] for name in OURS} == {"never"}


def test_docker_is_more_patient_than_our_processes(compose: dict[str, Any]) -> None:
    (limit,) = (
        rule.le for rule in Settings.model_fields["shutdown_timeout_s"].metadata if hasattr(rule, "le")
    )
    for name in OURS:
        assert int(compose["services"][name]["stop_grace_period"].rstrip("s")) > limit


def test_a_prometheus_in_the_same_network_reaches_every_process(compose: dict[str, Any]) -> None:
    for name in ("ingest", "jobs"):
        variables = compose["services"][name]["environment"]
        assert variables["MILEPOST_METRICS_HOST"] == "0.0.0.0"
        assert f"MILEPOST_{name.upper()}_METRICS_PORT" in variables
    assert compose["services"]["api"]["environment"]["MILEPOST_HTTP_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("name", ["migrate", "ingest", "jobs", "api"])
def test_no_container_gives_devices_the_inner_address(compose: dict[str, Any], name: str) -> None:
    variables = {**compose["x-milepost"]["environment"], **compose["services"][name]["environment"]}
    wanted = "${MILEPOST_PUBLIC_MQTT_URL:-mqtt://127.0.0.1:${MILEPOST_MQTT_PORT:-1883}}"
    assert variables["MILEPOST_PUBLIC_MQTT_URL"] == wanted


def test_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }
    assert used == set(compose["volumes"])


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    named = {
        name for service in compose["services"].values() for name in service.get("environment", {})
    } | set(re.findall(r"\$\{(\w+)", (PROJECT / "docker-compose.yml").read_text()))
    assert named - OTHER_VARIABLES <= _variables(Settings) | _variables(LocalSettings)


def test_the_example_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    assert named - OTHER_VARIABLES == _variables(Settings) | _variables(LocalSettings)


def test_the_examples_secrets_are_refused() -> None:
    for name in ("MILEPOST_MQTT_KEY", "MILEPOST_JWT_KEY"):
        assert re.search(rf"^{name}=.*change-me", (PROJECT / ".env.example").read_text(), re.MULTILINE)


def test_images_are_named_by_tag_and_run_without_root() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    images = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert images == ["python:3.11-slim-bookworm"] * 2
    assert not dockerfile.startswith("# syntax=")
    assert "@sha256" not in dockerfile + (PROJECT / "docker-compose.yml").read_text()
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] != "root"


def _variables(settings: type[Settings] | type[LocalSettings]) -> set[str]:
    return {f"MILEPOST_{name.upper()}" for name in settings.model_fields}


def _script(compose: dict[str, Any]) -> str:
    return str(compose["services"]["migrate"]["command"][0])


def _conf() -> str:
    return (PROJECT / "mosquitto.conf").read_text()


def _directive(name: str) -> str:
    (value,) = re.findall(rf"^{name} (\S+)$", _conf(), re.MULTILINE)
    return str(value)
