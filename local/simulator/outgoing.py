"""One device's outgoing fixes: a bounded buffer and a bounded window of unanswered messages. Pure.

Invariants: a fix is *waiting*, *in flight* (sent, unanswered) or *settled*; it leaves the first two only by
its reply, or by being dropped here, which is counted. At most ``window`` messages are in flight. An
unanswered message is resent with the same bytes and correlation data: to ingest it is a duplicate, to us the
reply is the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from broker.payloads import ResultWord
from local.simulator.driving import Reading

MAXIMUM_ARRAY = 500
PATIENCE_S = 4.0
PATIENCE_LIMIT_S = 120.0

_encode = msgspec.json.Encoder().encode


class ItemReply(msgspec.Struct, frozen=True):
    """One item's reply, as far as a device needs it."""

    result: ResultWord
    reason: str | None = None


class WholeReply(msgspec.Struct, frozen=True):
    """A reply's body: one for the whole message, or ``results`` item by item."""

    result: ResultWord | None = None
    reason: str | None = None
    results: tuple[ItemReply, ...] = ()


_reply = msgspec.json.Decoder(WholeReply)


@dataclass(slots=True)
class OutgoingMessage:
    """One publish with ``fixes`` fixes; times are of one monotonic clock, in seconds."""

    correlation: bytes
    payload: bytes
    fixes: int
    first_sent: float
    patience_s: float = PATIENCE_S
    resend_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A message's replies, and the seconds from its first sending to the reply."""

    results: tuple[ItemReply, ...]
    seconds: float


@dataclass(slots=True)
class OutgoingFixes:
    """``capacity`` bounds the fixes kept here while ingest is behind: the oldest are dropped first."""

    window: int = 8
    capacity: int = 5_000
    dropped: int = 0
    _waiting: deque[Reading] = field(default_factory=deque)
    _in_flight: dict[bytes, OutgoingMessage] = field(default_factory=dict)
    _sent: int = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        return sum(message.fixes for message in self._in_flight.values())

    def add(self, readings: Iterable[Reading]) -> None:
        self._waiting.extend(readings)
        while len(self._waiting) > self.capacity:
            self._waiting.popleft()
            self.dropped += 1

    def due(self, now: float) -> Iterator[OutgoingMessage]:
        """Yield the messages to send now: those unanswered in time, then new ones while the window allows."""
        for message in self._in_flight.values():
            if message.resend_at <= now:
                message.patience_s = min(message.patience_s * 2, PATIENCE_LIMIT_S)
                message.resend_at = now + message.patience_s
                yield message
        while self._waiting and len(self._in_flight) < self.window:
            yield self._next(now)

    def settle(self, correlation: bytes, payload: bytes, now: float) -> Settled | None:
        """Settle the message of a reply; None for an unexpected or unreadable reply."""
        message = self._in_flight.get(correlation)
        results = _results(payload, message.fixes) if message else None
        if message is None or results is None:
            return None
        del self._in_flight[correlation]
        return Settled(results, now - message.first_sent)

    def disconnected(self) -> None:
        """Make all messages in flight due after the next connect: it is unknown which of them arrived."""
        for message in self._in_flight.values():
            message.patience_s = PATIENCE_S / 2
            message.resend_at = 0.0

    def _next(self, now: float) -> OutgoingMessage:
        """Encode the next message: one fix as an object, several as an array."""
        readings = list(islice(self._waiting, MAXIMUM_ARRAY))
        for _ in readings:
            self._waiting.popleft()
        self._sent += 1
        payload = _encode(readings[0] if len(readings) == 1 else readings)
        message = OutgoingMessage(b"%d" % self._sent, payload, len(readings), now, resend_at=now + PATIENCE_S)
        self._in_flight[message.correlation] = message
        return message


def _results(payload: bytes, fixes: int) -> tuple[ItemReply, ...] | None:
    """Return one reply per fix. The refusal of a whole message counts for each of its items."""
    try:
        reply = _reply.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if reply.result is not None:
        return (ItemReply(reply.result, reply.reason),) * fixes
    return reply.results if len(reply.results) == fixes else None
