"""One MQTT 5 connection, driven by the thread that uses it.

There is no thread, no reconnect and no retransmission: a connection that fails raises `BrokerAway` from the
current call, and its owner decides what to publish again on a new one. So no message is sent twice, or out of
order, without its owner's knowledge.
"""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from broker.connection import BrokerLogin, paho_client

KEEP_ALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
WINDOW = 100  # publishes in flight; Mosquitto's max_inflight_messages, beyond which it disconnects


class BrokerAway(Exception):
    """The broker is unreachable, refused us, closed the connection or did not answer in time.

    ``summary`` gives the reason without hosts and ports.
    """

    def __init__(self, detail: str, summary: str = "") -> None:
        super().__init__(detail)
        self.summary = summary or detail


class BrokerRefused(BrokerAway):
    """The broker refused our login, or a request."""


class BrokerLink:
    """A context manager that connects on entry. Raises `BrokerAway`."""

    def __init__(self, to: BrokerLogin) -> None:
        self._to = to
        self._client = paho_client(to)
        self._client.max_inflight_messages_set(WINDOW)
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._answers: dict[int, ReasonCode] = {}
        self._connack: ReasonCode | None = None
        self._reason = ""
        self._messages: deque[tuple[str, bytes]] = deque()

    def __enter__(self) -> Self:
        try:
            self._client.connect(self._to.host, self._to.port, KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            raise BrokerAway(
                f"cannot connect to {self._to.host}:{self._to.port}: {error}", "the broker cannot be reached"
            ) from None
        try:
            self._loop_until(lambda: self._connack is not None, CONNECT_TIMEOUT_S)
        except BrokerAway:
            self.close()
            if self._refusal:
                raise BrokerRefused(self._refusal) from None
            raise
        if self._refusal:
            self.close()
            raise BrokerRefused(self._refusal)
        return self

    @property
    def _refusal(self) -> str:
        """Return why the broker refused the login, or ""."""
        # Kept apart from the disconnect: the loop may report the closed connection before we look.
        is_refused = self._connack is not None and self._connack.is_failure
        return f"refused as {self._to.user_name}: {self._connack}" if is_refused else ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.disconnect()

    def fileno(self) -> int:
        """Return the socket for `select`: readable when `loop` has work."""
        socket = self._client.socket()
        if socket is None:
            raise BrokerAway(self._reason or "disconnected")
        return int(socket.fileno())

    def loop(self, timeout_s: float = 0.0) -> None:
        """Read and write whatever is due, keep-alive included, waiting at most ``timeout_s`` for input."""
        if self._client.loop(timeout_s) != paho.MQTT_ERR_SUCCESS:
            raise BrokerAway(self._reason or "connection lost")

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Send with QoS 1 without waiting; pass the returned packet id to `wait_for_answers`."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise BrokerAway(self._reason or "connection lost")
        return sent.mid

    def wait_for_answers(self, packet_ids: list[int]) -> list[ReasonCode]:
        """Wait for the answers to ``packet_ids``, such as PUBACKs, and return them in the same order."""
        self._loop_until(
            lambda: all(packet_id in self._answers for packet_id in packet_ids), ANSWER_TIMEOUT_S
        )
        return [self._answers.pop(packet_id) for packet_id in packet_ids]

    def subscribe(self, filter: str) -> None:
        _, packet_id = self._client.subscribe(filter, qos=1)
        if packet_id is None or self.wait_for_answers([packet_id])[0].is_failure:
            raise BrokerRefused(f"may not subscribe {filter} as {self._to.user_name}")

    def receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        """Return the payload of the next message."""
        return self.receive_message(timeout_s)[1]

    def receive_message(self, timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[str, bytes]:
        """Return topic and payload of the next message."""
        self._loop_until(lambda: bool(self._messages), timeout_s)
        return self._messages.popleft()

    def _loop_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerAway("no answer in time")
            self.loop(left)

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._connack = reason

    def _on_publish(
        self, _client: Any, _data: Any, packet_id: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._answers[packet_id] = reason

    def _on_subscribe(
        self, _client: Any, _data: Any, packet_id: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._answers[packet_id] = reasons[0]

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._messages.append((message.topic, bytes(message.payload)))

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._reason = f"disconnected: {reason}"
