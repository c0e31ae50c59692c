"""The MQTT sessions of this worker's shards behind one selector: connect, reconnect, and batch messages.

Invariants: one thread; a shard has at most one open connection; a lost one is retried with full jitter. When
the broker says "session taken over", another worker has that queue now, and this one gives the shard up.
Mosquitto 2.0 closes the old connection without that reason code, so two workers of one shard keep displacing
each other, each backing off longer while its connections stay short-lived; a message that one did not
acknowledge is delivered to the other.
"""

import logging
import selectors
import time
from collections.abc import Callable, Sequence

import mqtt5

from broker import topics
from broker.connection import BrokerLogin
from core.backoff import Backoff
from ingest.condition import ShardView
from ingest.connection import Connection, ConnectionLost

BATCH_MESSAGES = 5_000
BATCH_BYTES = 16 * 1024 * 1024
BATCH_WINDOW_S = 0.010
IDLE_S = 0.5
SETTLED_S = 10.0

log = logging.getLogger(__name__)

ReceivedMessage = tuple[Connection, mqtt5.PublishPacket]


class Shard:
    """One shard's session: its connection, or the time of the next attempt."""

    def __init__(self, name: str, login: BrokerLogin) -> None:
        self.name = name
        self.login = login
        self.backoff = Backoff(limit_s=4.0)  # reconnects within 5 s of a broker's restart
        self.connection: Connection | None = None
        self.connected_at = 0.0
        self.retry_at = 0.0
        self.is_taken_over = False
        self.fault: str | None = "it has not connected yet"  # for operators; None while it is connected


class Receiver:
    """Calls ``on_session_lost`` with the shard's name when the broker had no session for it."""

    def __init__(
        self, logins: Sequence[tuple[str, BrokerLogin]], on_session_lost: Callable[[str], None]
    ) -> None:
        self._shards = {name: Shard(name, login) for name, login in logins}
        self._on_session_lost = on_session_lost
        self._selector = selectors.DefaultSelector()
        self.received_at = time.monotonic()  # the first message of the newest batch

    @property
    def connected(self) -> int:
        return sum(shard.connection is not None for shard in self._shards.values())

    @property
    def is_taken_over(self) -> bool:
        """Return whether every shard was taken over: other workers do this one's work."""
        return all(shard.is_taken_over for shard in self._shards.values())

    @property
    def shards(self) -> list[ShardView]:
        """Return this worker's shards and their faults. Other threads may call this too."""
        return [
            ShardView(shard.name, shard.fault) for shard in self._shards.values() if not shard.is_taken_over
        ]

    def next_batch(self) -> list[ReceivedMessage]:
        """Return the messages of 10 ms after the first, 5,000 or 16 MiB at most; [] after half a second."""
        self._connect_due()
        self._keep_alive()
        batch: list[ReceivedMessage] = []
        size = 0
        deadline = time.monotonic() + IDLE_S
        while len(batch) < BATCH_MESSAGES and size < BATCH_BYTES:
            messages = self._receive(max(0.0, deadline - time.monotonic()))
            if messages and not batch:
                self.received_at = time.monotonic()
                deadline = self.received_at + BATCH_WINDOW_S
            batch += messages
            size += sum(len(packet.payload) for _connection, packet in messages)
            if time.monotonic() >= deadline:
                break
        return batch

    def send(self, connection: Connection, data: bytes) -> bool:
        """Send ``data``; return False if the connection was lost since it delivered its messages."""
        if not connection.is_open:
            return False
        try:
            connection.send(data)
        except ConnectionLost as lost:
            self._lose(self._shard_of(connection), lost)
            return False
        return True

    def connection_of(self, shard_name: str) -> Connection | None:
        return self._shards[shard_name].connection

    def disconnect(self) -> None:
        """Disconnect every session cleanly; the broker queues for them until `next_batch` connects again."""
        for shard in self._shards.values():
            if shard.connection is not None:
                self._selector.unregister(shard.connection)
                shard.connection.disconnect()
                shard.connection = None
                shard.retry_at = 0.0
                shard.fault = "it left until a batch can be stored"

    def close(self) -> None:
        self.disconnect()
        self._selector.close()

    def _receive(self, timeout_s: float) -> list[ReceivedMessage]:
        messages: list[ReceivedMessage] = []
        for key, _events in self._selector.select(timeout_s):
            shard: Shard = key.data
            connection = shard.connection
            if connection is None:
                continue
            try:
                messages += [(connection, packet) for packet in connection.receive()]
            except ConnectionLost as lost:
                # Messages received in this call are dropped: unacknowledged, they will be redelivered.
                self._lose(shard, lost)
        return messages

    def _connect_due(self) -> None:
        now = time.monotonic()
        for shard in self._shards.values():
            if shard.connection is None and not shard.is_taken_over and shard.retry_at <= now:
                self._connect(shard)

    def _connect(self, shard: Shard) -> None:
        try:
            connection = Connection(shard.login, topics.shard_filter(shard.name))
        except ConnectionLost as lost:
            shard.fault = lost.summary
            self._schedule(shard)
            log.warning("connect_failed shard=%s reason=%s", shard.name, lost)
            return
        shard.connection, shard.fault = connection, None
        shard.connected_at = time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ, shard)
        log.info("connected shard=%s session_present=%s", shard.name, connection.session_present)
        if not connection.session_present:
            self._on_session_lost(shard.name)

    def _keep_alive(self) -> None:
        for shard in self._shards.values():
            if shard.connection is None:
                continue
            try:
                shard.connection.keep_alive()
            except ConnectionLost as lost:
                self._lose(shard, lost)

    def _lose(self, shard: Shard, lost: ConnectionLost) -> None:
        if shard.connection is not None:
            self._selector.unregister(shard.connection)
            shard.connection.close()
            shard.connection = None
        shard.fault = lost.summary
        if lost.is_taken_over:
            shard.is_taken_over = True
            log.warning("shard_let_go shard=%s another worker has its session", shard.name)
            return
        lived_s = time.monotonic() - shard.connected_at
        if lived_s >= SETTLED_S:
            shard.backoff.reset()
        self._schedule(shard)
        hint = "" if lived_s >= SETTLED_S else " (does another worker run with this shard?)"
        log.warning("connection_lost shard=%s lived_s=%.1f reason=%s%s", shard.name, lived_s, lost, hint)

    def _schedule(self, shard: Shard) -> None:
        shard.retry_at = time.monotonic() + shard.backoff.next()

    def _shard_of(self, connection: Connection) -> Shard:
        return next(shard for shard in self._shards.values() if shard.connection is connection)
