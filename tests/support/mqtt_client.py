"""An MQTT 5 client for tests: says what the broker answered, keeps what it received."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until

NOT_AUTHORIZED = 0x87
ADMINISTRATIVE = 0x98


class MqttClient:
    """Connected as ``user``. ``messages`` are ``(topic, payload, retain)``; it never reconnects by itself."""

    def __init__(self, broker: Broker, user: str, secret: str, client_id: str, expiry_s: int) -> None:
        self.messages: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()
        self.connack: ReasonCode | None = None
        self.session_present = False
        self.disconnected: ReasonCode | None = None
        self._answers: dict[int, list[ReasonCode]] = {}
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        client.username_pw_set(user, secret)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = lambda _c, _d, packet_id, reason, _p: self._answers.update({packet_id: [reason]})
        client.on_subscribe = lambda _c, _d, packet_id, reasons, _p: self._answers.update(
            {packet_id: reasons}
        )
        client.on_message = lambda _c, _d, message: self.messages.put(
            (message.topic, bytes(message.payload), message.retain)
        )
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = expiry_s
        client.connect(broker.host, broker.port, clean_start=expiry_s == 0, properties=properties)
        client.loop_start()
        self.paho = client
        wait_until(lambda: self.connack is not None, what=f"CONNACK for {user}")

    def publish(self, topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> int:
        """The PUBACK's reason code."""
        return self._answer(self.paho.publish(topic, payload, qos, retain).mid)

    def subscribe(self, filter: str, qos: int = 1) -> int:
        """The SUBACK's reason code."""
        packet_id = self.paho.subscribe(filter, qos)[1]
        assert packet_id is not None
        return self._answer(packet_id)

    def receive(self, timeout: float = 10.0) -> tuple[str, bytes, bool]:
        """The next message. Raises `queue.Empty`."""
        return self.messages.get(timeout=timeout)

    def received(self) -> list[tuple[str, bytes, bool]]:
        """What has arrived and was not taken yet."""
        items = []
        while not self.messages.empty():
            items.append(self.messages.get())
        return items

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def _answer(self, packet_id: int) -> int:
        reasons = wait_until(lambda: self._answers.pop(packet_id, None), what="an answer of the broker")
        assert reasons is not None
        return int(reasons[0].value)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.session_present = flags.session_present
        self.connack = reason

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self.disconnected = reason


@contextmanager
def connected(
    broker: Broker,
    user: str,
    *,
    secret: str | None = None,
    version: int = 1,
    client_id: str | None = None,
    expiry_s: int = 0,
) -> Iterator[MqttClient]:
    """A client as ``user``, by default with its own secret; ``expiry_s`` > 0 keeps its session."""
    password = broker.password(user, version) if secret is None else secret
    client = MqttClient(broker, user, password, client_id or user, expiry_s)
    try:
        yield client
    finally:
        client.close()
