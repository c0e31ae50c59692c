"""Who may do what, asked of a real broker with the roles of a real database."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from sqlalchemy.orm import Session

from core.identities import SHARDS, ingest_user, operator_user, shard_of
from core.models.fleet import Device
from core.models.people import AppUser
from core.rules.enums import Role
from tests.support import factories
from tests.support.mqtt_client import NOT_AUTHORIZED, MqttClient, connected
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until

QOS_NOT_SUPPORTED = 0x9B


class BrokerUsers:
    """Two companies on the broker: a device and an operator of ``acme``, a device of ``other``."""

    def __init__(self, session: Session, broker: Broker) -> None:
        acme = factories.company(session, slug="acme")
        other = factories.company(session, slug="other")
        self.device: Device = factories.device(session, acme)
        self.foreign: Device = factories.device(session, other)
        self.disabled: Device = factories.device(session, acme, disabled_at=datetime.now(UTC))
        self.operator: AppUser = factories.user(session, acme, Role.OPERATOR)
        self.manager: AppUser = factories.user(session, acme, Role.MANAGER)
        self.driver: AppUser = factories.user(session, acme, Role.DRIVER)
        self.gone: AppUser = factories.user(session, acme, Role.OPERATOR, disabled_at=datetime.now(UTC))
        session.commit()
        broker.rewrite(session)
        self.broker = broker

    @property
    def up(self) -> str:
        """The device's own topics."""
        return f"up/{shard_of(self.device.id)}/{self.device.id}"


@pytest.fixture
def fleet(session: Session, broker: Broker) -> BrokerUsers:
    return BrokerUsers(session, broker)


@pytest.fixture
def device(fleet: BrokerUsers) -> Iterator[MqttClient]:
    with connected(fleet.broker, fleet.device.id) as client:
        yield client


@pytest.fixture
def operator(fleet: BrokerUsers) -> Iterator[MqttClient]:
    with connected(fleet.broker, operator_user(fleet.operator.id)) as client:
        yield client


def test_a_device_publishes_below_its_own_name_only(fleet: BrokerUsers, device: MqttClient) -> None:
    foreign = fleet.foreign.id
    for topic in [
        f"up/{shard_of(foreign)}/{foreign}/location",
        "fleet/acme/vehicles/1/position",
        f"down/{fleet.device.id}/reply",
        f"down/{foreign}/command",
        "$SYS/broker/uptime",
        "$CONTROL/dynamic-security/v1",
        "anything",
    ]:
        assert device.publish(topic) == NOT_AUTHORIZED, topic
    assert device.disconnected is None
    assert device.publish(f"{fleet.up}/location") < 0x80


def test_a_device_publishes_in_its_own_shard_only(fleet: BrokerUsers, device: MqttClient) -> None:
    for shard in (set(SHARDS) - {shard_of(fleet.device.id)}) | {"g", "00", ""}:
        assert device.publish(f"up/{shard}/{fleet.device.id}/location") == NOT_AUTHORIZED, shard
    assert device.disconnected is None


def test_a_device_subscribes_to_what_is_sent_down_only(fleet: BrokerUsers, device: MqttClient) -> None:
    for filter in ["#", "+/#", "+/+/+", "fleet/#", "fleet/acme/#", "$SYS/#", "$CONTROL/#", "up/#"]:
        assert device.subscribe(filter) == NOT_AUTHORIZED, filter
    for filter in [f"{fleet.up}/#", "down/#", "$share/x/up/+/+/#", "$share/x/#", "$share/x/down/+/#"]:
        assert device.subscribe(filter) == NOT_AUTHORIZED, filter
    for end in ["reply", "command", "#"]:
        assert device.subscribe(f"down/{fleet.device.id}/{end}") == 1, end


def test_a_device_cannot_park_subscriptions(fleet: BrokerUsers, device: MqttClient) -> None:
    own = f"down/{fleet.device.id}"
    for filter in [f"{own}/1", f"{own}/reply/1", f"{own}/+", f"{own}/1/#", f"{own}/+/+/#", own, f"{own}/"]:
        assert device.subscribe(filter) == NOT_AUTHORIZED, filter
    for filter in [
        "down/+/#",
        "down/+/reply",
        f"down/{fleet.foreign.id}/reply",
        f"down/{fleet.foreign.id}/#",
    ]:
        assert device.subscribe(filter) == NOT_AUTHORIZED, filter
    with connected(fleet.broker, "relay") as relay:
        assert relay.publish(f"{own}/command", b"mine") < 0x80
    assert device.received() == []


def test_a_device_never_receives_what_is_sent_down_to_another(fleet: BrokerUsers, device: MqttClient) -> None:
    assert device.subscribe(f"down/{fleet.device.id}/#") == 1
    with connected(fleet.broker, ingest_user("0")) as ingest:
        assert ingest.publish(f"down/{fleet.foreign.id}/reply", b"theirs") < 0x80
        assert ingest.publish(f"down/{fleet.device.id}/reply", b"mine") < 0x80
    assert device.receive()[1] == b"mine"
    assert device.received() == []


def test_ingest_reads_its_own_shard_and_writes_facts_and_replies(
    fleet: BrokerUsers, device: MqttClient
) -> None:
    shard = shard_of(fleet.device.id)
    other = next(digit for digit in SHARDS if digit != shard)
    with connected(fleet.broker, ingest_user(shard)) as ingest:
        for filter in ["#", "up/#", "up/+/+/#", f"up/{other}/+/#", "fleet/#", f"$share/x/up/{shard}/+/#"]:
            assert ingest.subscribe(filter) == NOT_AUTHORIZED, filter
        assert ingest.subscribe(f"up/{shard}/+/#") == 1
        device.publish(f"{fleet.up}/location", b"fix")
        assert ingest.receive()[:2] == (f"{fleet.up}/location", b"fix")
        assert ingest.publish("fleet/acme/vehicles/1/position") < 0x80
        assert ingest.publish(f"{fleet.up}/location", b"", retain=True) < 0x80
        for other in set(SHARDS) - {shard}:
            assert ingest.publish(f"up/{other}/{fleet.device.id}/location") == NOT_AUTHORIZED


def test_an_operator_sees_its_own_company_whole_and_no_other(
    fleet: BrokerUsers, operator: MqttClient
) -> None:
    for filter in ["#", "+/#", "fleet/#", "fleet/+/#", "fleet/other/#", "fleet/+/vehicles/+/position"]:
        assert operator.subscribe(filter) == NOT_AUTHORIZED, filter
    for filter in ["$SYS/#", "up/#", "down/#", "$share/x/up/+/+/#", "$share/x/fleet/other/#", "$CONTROL/#"]:
        assert operator.subscribe(filter) == NOT_AUTHORIZED, filter
    assert operator.subscribe("fleet/acme/#") == 1
    with connected(fleet.broker, "relay") as relay:
        assert relay.publish("fleet/other/deliveries/1/status", b"theirs") < 0x80
        assert relay.publish("fleet/acme/deliveries/1/status", b"ours") < 0x80
    assert operator.receive()[1] == b"ours"
    assert operator.received() == []


def test_an_operator_publishes_nothing(fleet: BrokerUsers, operator: MqttClient) -> None:
    user = operator_user(fleet.operator.id)
    for topic in ["fleet/acme/vehicles/1/position", f"up/0/{user}/location", f"{fleet.up}/location"]:
        assert operator.publish(topic) == NOT_AUTHORIZED, topic
    assert operator.disconnected is None


def test_a_new_subscriber_has_the_retained_facts_at_once(fleet: BrokerUsers, operator: MqttClient) -> None:
    with connected(fleet.broker, "relay") as relay:
        relay.publish("fleet/acme/deliveries/1/status", b"fact", retain=True)
    operator.subscribe("fleet/acme/deliveries/+/status")
    assert operator.receive() == ("fleet/acme/deliveries/1/status", b"fact", True)


def test_who_is_unknown_disabled_or_wrong_is_refused(fleet: BrokerUsers) -> None:
    device, operator, driver = (
        fleet.device.id,
        operator_user(fleet.operator.id),
        operator_user(fleet.driver.id),
    )
    attempts = [
        ("nobody0000", None),
        (device, "wrong"),
        (device, ""),
        (operator, "wrong"),
        ("", ""),
        ("#", ""),
    ]
    attempts += [(driver, None), (fleet.disabled.id, None), (operator_user(fleet.gone.id), None)]
    for user, secret in attempts:
        with connected(fleet.broker, user, secret=secret) as client:
            assert client.connack is not None, user
            assert client.connack.value == NOT_AUTHORIZED, user
    with connected(fleet.broker, operator_user(fleet.manager.id)) as manager:
        assert manager.subscribe("fleet/acme/#") == 1


def test_a_stolen_client_id_takes_no_session_over(fleet: BrokerUsers) -> None:
    shard = shard_of(fleet.device.id)
    topic = f"{fleet.up}/location"
    with connected(fleet.broker, ingest_user(shard), expiry_s=600) as ingest:
        ingest.subscribe(f"up/{shard}/+/#")
    with connected(fleet.broker, fleet.device.id) as device:
        device.publish(topic, b"queued")
    for thief in (fleet.foreign.id, operator_user(fleet.operator.id)):
        with connected(fleet.broker, thief, client_id=ingest_user(shard)) as client:
            assert client.connack is not None
            assert not client.connack.is_failure
    with connected(fleet.broker, ingest_user(shard), expiry_s=600) as ingest:
        assert ingest.session_present
        assert ingest.receive()[1] == b"queued"


def test_a_second_connection_of_one_user_takes_over_the_first(fleet: BrokerUsers, device: MqttClient) -> None:
    with connected(fleet.broker, fleet.device.id, client_id="another"):
        # 2.0.11 closes it without saying 0x8E.
        wait_until(lambda: device.disconnected, what="the first connection ends")


def test_a_message_of_1_mb_is_refused_and_a_card_with_a_face_is_not(
    fleet: BrokerUsers, device: MqttClient
) -> None:
    assert device.publish(f"{fleet.up}/owntracks/card", b"x" * 270_000) < 0x80
    device.paho.publish(f"{fleet.up}/location", b"x" * 1_000_000, 1)
    # Not by the reason 0x95: a connection that is closed with unread bytes may lose the last packet.
    wait_until(lambda: device.disconnected, what="the sender is disconnected")
    reason = f"Client {fleet.device.id} disconnected due to oversize packet"
    wait_until(lambda: reason in fleet.broker.log(), what="the broker's log gives the reason")


@pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5])
def test_a_publish_at_qos_2_is_refused(fleet: BrokerUsers, protocol: MQTTProtocolVersion) -> None:
    with raw_client(fleet, protocol) as (client, ended):
        client.publish(f"{fleet.up}/location", b"x" * 400_000, qos=2)
        reason = ended.get(timeout=10)
    if protocol is paho.MQTTv5:
        assert reason.value == QOS_NOT_SUPPORTED
    assert f"{fleet.device.id}: Requested QoS not supported on server" in fleet.broker.log()


@pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5])
def test_a_last_will_at_qos_2_is_refused(fleet: BrokerUsers, protocol: MQTTProtocolVersion) -> None:
    with raw_client(fleet, protocol, will_qos=2) as (client, ended):
        reason = ended.get(timeout=10)
        assert not client.is_connected()
    if protocol is paho.MQTTv5:
        assert reason.value == QOS_NOT_SUPPORTED
    with raw_client(fleet, protocol, will_qos=1) as (client, ended):
        wait_until(client.is_connected, what="a will at QoS 1 is taken")


@contextmanager
def raw_client(
    fleet: BrokerUsers, protocol: MQTTProtocolVersion, will_qos: int | None = None
) -> Iterator[tuple[paho.Client, "queue.SimpleQueue[ReasonCode]"]]:
    """The device's client of any protocol version, and why it was refused or disconnected."""
    ended: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol, reconnect_on_failure=False)
    client.username_pw_set(fleet.device.id, fleet.broker.password(fleet.device.id))
    client.on_connect = lambda _c, _d, _f, reason, _p: ended.put(reason) if reason.is_failure else None
    client.on_disconnect = lambda _c, _d, _f, reason, _p: ended.put(reason)
    if will_qos is not None:
        client.will_set(f"{fleet.up}/location", b"x", will_qos)
    client.connect(fleet.broker.host, fleet.broker.port)
    client.loop_start()
    try:
        if will_qos is None:
            wait_until(client.is_connected)
        yield client, ended
    finally:
        client.disconnect()
        client.loop_stop()


def test_nothing_reaches_a_subscriber_who_was_refused(fleet: BrokerUsers, operator: MqttClient) -> None:
    operator.subscribe("fleet/other/#")
    operator.subscribe("fleet/acme/#")
    with connected(fleet.broker, "relay") as relay:
        relay.publish("fleet/other/alerts/speeding/1")
        relay.publish("fleet/acme/alerts/speeding/1")
    assert operator.receive()[0] == "fleet/acme/alerts/speeding/1"
    with pytest.raises(queue.Empty):
        operator.receive(timeout=0.2)
