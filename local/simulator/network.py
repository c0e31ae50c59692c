"""Many devices' MQTT connections on one thread: one selector over paho clients without threads of their own.

Invariants: a `SimulatedLink` has at most one paho client, a new one per attempt, so that paho never resends
on its own (repeating unanswered messages is the sender's task). Every callback runs inside `Network.turn`. A
link that was refused or lost retries after a back-off of its own, with full jitter; while the broker's port
is closed all links wait together, for each attempt could block for `CONNECT_TIMEOUT_S`.
"""

import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker import topics
from broker.connection import BrokerLogin, paho_client
from core.backoff import Backoff
from core.identities import shard_of

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
CONNECT_TIMEOUT_S = 2.0
HANDSHAKE_S = 10.0
MISC_EVERY_S = 1.0
CONNECTS_A_TURN = 20

OnReply = Callable[[bytes, bytes], None]


class SimulatedLink:
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

    # Below: for `Network`.

    @property
    def client(self) -> paho.Client | None:
        return self._client

    def wants_connection(self, now: float) -> bool:
        return self._client is None and now >= self._retry_at

    def overslept(self, now: float) -> bool:
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

    def forget(self, now: float) -> None:
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


class Network:
    """Drives the links: call `turn` until done, then `close`."""

    def __init__(self) -> None:
        self.links: list[SimulatedLink] = []
        self.problem = ""
        self._selector = selectors.DefaultSelector()
        self._lost: set[SimulatedLink] = set()
        self._misc_at = 0.0
        self._closed_until = 0.0
        self._backoff = Backoff(base_s=0.5, limit_s=5.0)

    def add(self, link: SimulatedLink) -> None:
        self.links.append(link)

    def turn(self, timeout_s: float) -> None:
        """Wait for the network at most ``timeout_s``, then do all pending work."""
        for key, events in self._selector.select(max(0.0, timeout_s)):
            _serve(key.data, events)
        now = time.monotonic()
        if now >= self._misc_at:
            self._misc_at = now + MISC_EVERY_S
            self._care(now)
        self._forget_lost(now)
        if now >= self._closed_until:
            self._connect_due(now)

    def close(self) -> None:
        """Disconnect every link cleanly."""
        for link in self.links:
            if link.client is not None:
                link.client.disconnect()
                link.client.loop_write()
        self._selector.close()

    def _care(self, now: float) -> None:
        """Keep connections alive, and end those that did not become ready."""
        for link in self.links:
            if link.client is not None:
                link.client.loop_misc()
                if link.overslept(now):
                    _shut(link.client)

    def _forget_lost(self, now: float) -> None:
        for link in self._lost:
            link.forget(now)
        self._lost.clear()

    def _connect_due(self, now: float) -> None:
        due = (link for link in self.links if link.wants_connection(now))
        for _, link in zip(range(CONNECTS_A_TURN), due, strict=False):
            try:
                link.connect(now, self._follow(link))
            except OSError as error:
                self._broker_is_away(link, error)
                return
            self._backoff.reset()
            self.problem = ""

    def _follow(self, link: SimulatedLink) -> Callable[[paho.Client], None]:
        """Return a function that connects paho's socket callbacks to the selector."""

        def prepare(client: paho.Client) -> None:
            client.on_socket_open = self._opened
            client.on_socket_close = self._closed
            client.on_socket_register_write = self._write_wanted
            client.on_socket_unregister_write = self._write_done
            client.user_data_set(link)

        return prepare

    def _opened(self, _client: paho.Client, link: SimulatedLink, sock: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, link)

    def _closed(self, _client: paho.Client, link: SimulatedLink, sock: Any) -> None:
        self._selector.unregister(sock)
        # Only noted here: paho may close the socket in the middle of a caller's publish.
        self._lost.add(link)

    def _write_wanted(self, _client: paho.Client, link: SimulatedLink, sock: Any) -> None:
        self._selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def _write_done(self, _client: paho.Client, link: SimulatedLink, sock: Any) -> None:
        self._selector.modify(sock, selectors.EVENT_READ, link)

    def _broker_is_away(self, link: SimulatedLink, error: OSError) -> None:
        self._closed_until = time.monotonic() + self._backoff.next()
        problem = f"no broker at {link.login.host}:{link.login.port} ({error.strerror or error})"
        if problem != self.problem:
            log.warning("%s; trying again", problem)
        self.problem = problem


def _serve(link: SimulatedLink, events: int) -> None:
    client = link.client
    if client is None:
        return
    if events & selectors.EVENT_WRITE:
        client.loop_write()
    if events & selectors.EVENT_READ:
        client.loop_read()
        # TLS may have buffered decrypted bytes, which the selector does not see.
        while isinstance(sock := client.socket(), ssl.SSLSocket) and sock.pending():
            client.loop_read()


def _shut(client: paho.Client) -> None:
    """Shut a connection down; paho reads the end in the next turn, and closes it."""
    sock = client.socket()
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _nothing() -> None:
    """The default callback."""
