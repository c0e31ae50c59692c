"""The tests' own services: what they promise to the other tests."""

import time

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.identities import RELAY_USER
from core.models.company import Company
from core.settings import Settings
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.waiting import wait_until

COMPANIES = text("SELECT count(*) FROM company")


@pytest.mark.parametrize("_run", [1, 2])
def test_each_test_has_an_empty_migrated_database(_run: int, session: Session) -> None:
    assert session.scalar(COMPANIES) == 0
    session.add(Company(slug="acme", name="Acme"))
    session.commit()


def test_own_postgres_comes_back_with_its_data_after_a_kill(own_postgres: PostgresServer) -> None:
    url = own_postgres.url("postgres")
    own_postgres.kill()
    own_postgres.start()
    assert own_postgres.url("postgres") == url
    own_postgres.stop()
    own_postgres.start()


def test_the_broker_admits_only_the_right_secret(broker: Broker) -> None:
    assert _connect(broker, RELAY_USER, broker.password(RELAY_USER)) == "Success"
    assert _connect(broker, RELAY_USER, broker.password(RELAY_USER, version=2)) == "Not authorized"
    assert _connect(broker, "", "") == "Not authorized"


def test_the_broker_comes_back_on_its_port_after_a_kill(broker: Broker, session: Session) -> None:
    port = broker.port
    broker.kill()
    broker.start()
    broker.rewrite(session)
    assert broker.port == port
    assert _connect(broker, RELAY_USER, broker.password(RELAY_USER)) == "Success"


def test_settings_lead_to_the_database_and_the_broker(
    settings: Settings, engine: Engine, broker: Broker
) -> None:
    assert settings.database_url.get_secret_value().endswith(str(engine.url.database))
    assert settings.mqtt_key.get_secret_value() == broker.mqtt_key


def test_wait_until_says_what_did_not_come() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="pigs fly"):
        wait_until(lambda: False, timeout=0.05, what="pigs fly")
    assert time.monotonic() - started < 1


def _connect(broker: Broker, user: str, secret: str) -> str:
    """The broker's answer to CONNECT."""
    answers: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    if user:
        client.username_pw_set(user, secret)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(str(reason))
    client.connect(broker.host, broker.port)
    wait_until(lambda: client.loop(0.05) != paho.MQTT_ERR_SUCCESS or answers, what="the broker answers")
    client.disconnect()
    return answers[0]


def test_a_broker_that_lost_its_data_still_knows_its_users(broker: Broker) -> None:
    broker.stop()
    broker.lose_data()
    broker.start()
    assert _connect(broker, RELAY_USER, broker.password(RELAY_USER)) == "Success"


def test_a_running_brokers_log_can_be_read_and_outlives_its_data(broker: Broker) -> None:
    wait_until(lambda: "New connection" in broker.log(), what="the log has the connection of its start")
    broker.stop()
    first_life = broker.log()
    broker.lose_data()
    broker.start()
    wait_until(lambda: "New connection" in broker.log()[len(first_life) :], what="the log goes on")
    assert broker.log().startswith(first_life)
