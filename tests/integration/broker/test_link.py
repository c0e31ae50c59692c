"""The connection of relay and provisioner: what it says when it cannot be."""

import pytest

from broker.connection import login
from broker.link import WINDOW, BrokerAway, BrokerLink
from core.identities import RELAY_USER
from core.settings import Settings
from local.services.ports import free_port
from tests.support.services.mosquitto import Broker
from tests.support.services.settings import make_settings


def test_it_says_why_it_was_refused(settings: Settings) -> None:
    with (
        pytest.raises(BrokerAway, match="refused as nobody: Not authorized"),
        BrokerLink(login(settings, "nobody")),
    ):
        pass


def test_no_broker_is_a_broker_away(database_url: str) -> None:
    settings = make_settings(database_url, f"mqtt://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerAway, match="cannot connect"), BrokerLink(login(settings, RELAY_USER)):
        pass


def test_a_broker_that_dies_is_a_broker_away(settings: Settings, broker: Broker) -> None:
    with BrokerLink(login(settings, RELAY_USER)) as link:
        broker.kill()
        with pytest.raises(BrokerAway):
            link.wait_for_answers([link.publish("fleet/acme/deliveries/1/status", b"x", retain=False)])
        with pytest.raises(BrokerAway):
            link.loop()


def test_a_full_window_is_answered_in_order(settings: Settings) -> None:
    topics = ["up/0/x/y", "fleet/acme/deliveries/1/status"] * (WINDOW // 2)
    with BrokerLink(login(settings, RELAY_USER)) as link:
        answers = link.wait_for_answers([link.publish(topic, b"x", retain=False) for topic in topics])
    assert [answer.is_failure for answer in answers] == [True, False] * (WINDOW // 2)
