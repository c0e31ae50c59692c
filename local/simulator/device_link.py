"""One simulated device's connection to the broker, over a paho client without a thread of its own.

Invariants: a link has at most one paho client, a new one per attempt, so that paho never resends on its own
(repeating unanswered messages is the sender's task). A link that was refused or lost retries after a back-off
of its own, with full jitter. Every callback runs inside `Network.loop`.
"""

from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker import topics
from broker.connection import BrokerLogin, paho_client
from core.backoff import Backoff
from core.identities import shard_of

KEEP_ALIVE_S = 30
CONNECT_TIMEOUT_S = 2.0
HANDSHAKE_S = 10.0

OnReply = Callable[[bytes, bytes], None]


class DeviceLink:
    """One device's connection. Calls ``on_ready`` when it may publish, ``on_lost`` when it no longer may."""

    def __init__(self, login: BrokerLogin, on_reply: OnReply) -> None:
        self.login = login
        self.device = login.user_name
        self.ready = False
        self.refused = False
        self.on_reply = on_reply
        self.on_ready: Callable[[], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self._shard = shard_of(self.device)
        self._reply_topic = topics.reply(self.device)
        self._client: paho.Client | None = None
        self._backoff = Backoff(base_s=0.5, limit_s=15.0)
        self._retry_at = 0.0
        self._deadline = 0.0

    def publish(self, format: str, payload: bytes, correlation: bytes) -> None:
        """Publish with QoS 1, with the reply requested on our own topic. Only while ``ready``."""
        if self._client is None:
            raise ConnectionError(f"{self.device} is not connected")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = self._reply_topic
        properties.CorrelationData = correlation
        self._client.publish(topics.up(self._shard, self.device, format), payload, 1, properties=properties)

    # For `Network`:

    @property
    def client(self) -> paho.Client | None:
        return self._client

    def wants_connection(self, now: float) -> bool:
        return self._client is None and now >= self._retry_at

    def is_overdue(self, now: float) -> bool:
        """Return whether the link is not ready in time: half-open, or the broker is too busy to answer."""
        return self._client is not None and not self.ready and now > self._deadline

    def connect(self, now: float, prepare: Callable[[paho.Client], None]) -> None:
        """Connect, blocking until TCP (and TLS) are established. Raises `OSError`."""
        client = paho_client(self.login)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        prepare(client)
        client.connect(self.login.host, self.login.port, KEEP_ALIVE_S, clean_start=True)
        self._client = client
        self._deadline = now + HANDSHAKE_S

    def drop(self, now: float) -> None:
        """Drop the lost connection and schedule the next attempt after a back-off."""
        was_ready, self._client, self.ready = self.ready, None, False
        self._retry_at = now + self._backoff.next()
        if was_ready:
            self.on_lost()

    def _connected(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self.refused = reason.is_failure
        if not reason.is_failure:
            client.subscribe(self._reply_topic, 0)

    def _subscribed(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self.refused = any(reason.is_failure for reason in reasons)
        if not self.refused:
            self.ready = True
            self._backoff.reset()
            self.on_ready()

    def _message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        if message.topic == self._reply_topic and correlation is not None:
            self.on_reply(correlation, bytes(message.payload))


def _nothing() -> None:
    """The default callback."""
