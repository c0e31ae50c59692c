"""What one device still has to say: a bounded buffer, a bounded window of unanswered messages. Pure.

Invariants: a fix is *waiting*, *in flight* (sent, unanswered) or *settled*; it leaves the first two only by
its answer, or by being dropped here, which is counted. At most ``window`` messages are in flight. A message
that stays unanswered is sent again with the same bytes and correlation: to ingest that is a duplicate, to us
the same answer.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from broker.payloads import Result
from local.simulator.driving import Reading

MAXIMUM_ARRAY = 500
PATIENCE_S = 4.0
PATIENCE_LIMIT_S = 120.0

_encode = msgspec.json.Encoder().encode


class ItemReply(msgspec.Struct, frozen=True):
    """One answer, as far as a device cares."""

    result: Result
    reason: str | None = None


class WholeReply(msgspec.Struct, frozen=True):
    """A reply's body: an answer for the message, or ``results`` item by item."""

    result: Result | None = None
    reason: str | None = None
    results: tuple[ItemReply, ...] = ()


_reply = msgspec.json.Decoder(WholeReply)


@dataclass(slots=True)
class Message:
    """One publish. ``fixes`` is how many it holds; times are of one monotonic clock, in seconds."""

    correlation: bytes
    payload: bytes
    fixes: int
    first_sent: float
    patience_s: float = PATIENCE_S
    resend_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A message's answers and how long the last one took, from its first sending."""

    results: tuple[ItemReply, ...]
    seconds: float


@dataclass(slots=True)
class OutgoingFixes:
    """``capacity`` bounds the fixes kept here while ingest is behind: the oldest are dropped first."""

    window: int = 8
    capacity: int = 5_000
    dropped: int = 0
    _waiting: deque[Reading] = field(default_factory=deque)
    _in_flight: dict[bytes, Message] = field(default_factory=dict)
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

    def due(self, now: float) -> Iterator[Message]:
        """What may be sent now: what nobody answered in time, then all that waits and fits the window."""
        for message in self._in_flight.values():
            if message.resend_at <= now:
                message.patience_s = min(message.patience_s * 2, PATIENCE_LIMIT_S)
                message.resend_at = now + message.patience_s
                yield message
        while self._waiting and len(self._in_flight) < self.window:
            yield self._next(now)

    def settle(self, correlation: bytes, payload: bytes, now: float) -> Settled | None:
        """Take an answer. None for one that we do not wait for (any more) or cannot read."""
        message = self._in_flight.get(correlation)
        results = _results(payload, message.fixes) if message else None
        if message is None or results is None:
            return None
        del self._in_flight[correlation]
        return Settled(results, now - message.first_sent)

    def disconnected(self) -> None:
        """Nobody knows what arrived: everything in flight is due again as soon as we are back."""
        for message in self._in_flight.values():
            message.patience_s = PATIENCE_S / 2
            message.resend_at = 0.0

    def _next(self, now: float) -> Message:
        """One fix as an object, more as an array."""
        readings = list(islice(self._waiting, MAXIMUM_ARRAY))
        for _ in readings:
            self._waiting.popleft()
        self._sent += 1
        payload = _encode(readings[0] if len(readings) == 1 else readings)
        message = Message(b"%d" % self._sent, payload, len(readings), now, resend_at=now + PATIENCE_S)
        self._in_flight[message.correlation] = message
        return message


def _results(payload: bytes, fixes: int) -> tuple[ItemReply, ...] | None:
    """An answer a fix. A refused whole answers for each of its items."""
    try:
        reply = _reply.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if reply.result is not None:
        return (ItemReply(reply.result, reply.reason),) * fixes
    return reply.results if len(reply.results) == fixes else None
