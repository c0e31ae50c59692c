"""Every answer that tells where the broker is names its public address."""

import pytest
from starlette.testclient import TestClient

from core.settings import Settings
from tests.support.api_client import House, bearer, document, running
from tests.support.services.processes import Processes

PUBLIC = "mqtts://mqtt.example.com:8883"
CALLS = (
    ("POST", "/devices/{device}/credentials/"),
    ("POST", "/devices/{device}/rotate/"),
    ("GET", "/me/mqtt/"),
    ("POST", "/me/mqtt/rotate/"),
)


def test_the_api_names_the_public_address(house: House, settings: Settings) -> None:
    with running(settings.model_copy(update={"public_mqtt_url": PUBLIC})) as client:
        assert _named(client, house, settings) == [PUBLIC] * len(CALLS)


def test_without_a_public_address_the_api_names_its_own(
    client: TestClient, house: House, settings: Settings
) -> None:
    assert _named(client, house, settings) == [settings.mqtt_url] * len(CALLS)


def test_every_answer_with_an_mqtt_login_names_the_broker() -> None:
    fields = [schema.get("properties", {}).keys() for schema in document()["components"]["schemas"].values()]
    logins = [names for names in fields if {"user_name", "secret"} <= names]
    assert len(logins) == 2
    assert all("broker_url" in names for names in logins)


@pytest.mark.parametrize("public", ["", PUBLIC])
def test_commands_name_the_address_for_devices(
    processes: Processes, house: House, settings: Settings, public: str
) -> None:
    commands = (
        ("device", "credentials", house.device.id, "--company", house.company.slug),
        ("device", "add", "van 9", "--company", house.company.slug),
        ("broker", "login", house.manager.email),
    )
    for command in commands:
        process = processes.start(*command, MILEPOST_PUBLIC_MQTT_URL=public)
        assert process.wait(30) == 0, process.output()
        (line,) = [line for line in process.output().splitlines() if line.startswith("broker ")]
        assert line.split()[-1] == (public or settings.mqtt_url)


def _named(client: TestClient, house: House, settings: Settings) -> list[str]:
    headers = bearer(settings, house.manager)
    answers = [
        client.request(method, path.format(device=house.device.id), headers=headers) for method, path in CALLS
    ]
    return [answer.json()["broker_url"] for answer in answers]
