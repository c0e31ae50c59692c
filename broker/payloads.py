"""Payloads of facts and replies, encoded and decoded, as JSON with UTC instants (``Z``). Pure.

``…_message(fact)`` gives ``(topic, payload)``, so that a fact and its topic cannot disagree. An empty payload
means that the fact is gone: encoders make it for a fact that ended, decoders return ``None`` for it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, TypeVar

import msgspec

from broker import topics
from core.rules.facts import AlertFact, PositionFact, StatusFact
from core.rules.fix import MessageId

GONE = b""
FactMessage = tuple[str, bytes]
ResultWord = Literal["stored", "duplicate", "rejected"]
Fact = TypeVar("Fact", PositionFact, StatusFact)

_encode = msgspec.json.Encoder().encode
_position = msgspec.json.Decoder(PositionFact)
_status = msgspec.json.Decoder(StatusFact)


class PayloadError(ValueError):
    """Not JSON, or not the kind of fact that the topic promises."""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The reply to a device about one fix or one request. ``id`` echoes the device's own message id.

    ``current`` and ``allowed`` explain a refused status request: the delivery's status and the allowed
    transitions; ``missing`` names the parts of a proof of delivery that are required first.
    """

    id: MessageId | None = None
    result: ResultWord
    reason: str | None = None
    current: str | None = None
    allowed: tuple[str, ...] | None = None
    missing: tuple[str, ...] | None = None


class Replies(msgspec.Struct, frozen=True):
    """The reply to an array, item by item, in its order."""

    results: tuple[Reply, ...]


def position_message(fact: PositionFact) -> FactMessage:
    if fact.fix_time.tzinfo is not UTC:
        fact = msgspec.structs.replace(fact, fix_time=_utc(fact.fix_time))
    return topics.position(fact.company, fact.vehicle), _encode(fact)


def status_message(fact: StatusFact) -> FactMessage:
    fact = msgspec.structs.replace(
        fact, occurred_at=_utc(fact.occurred_at), recorded_at=_utc(fact.recorded_at)
    )
    return topics.status(fact.company, fact.delivery), _encode(fact)


def alert_message(fact: AlertFact) -> FactMessage:
    fact = msgspec.structs.replace(fact, occurred_at=_utc(fact.occurred_at))
    return topics.alert(fact.company, fact.kind, fact.vehicle), _encode(fact)


def position_gone(company: str, vehicle: int) -> FactMessage:
    return topics.position(company, vehicle), GONE


def status_gone(company: str, delivery: int) -> FactMessage:
    return topics.status(company, delivery), GONE


def decode_position(payload: bytes | bytearray | memoryview) -> PositionFact | None:
    """Return the position; ``None`` when it is gone. Raises `PayloadError`."""
    return _decode(_position, payload)


def decode_status(payload: bytes | bytearray | memoryview) -> StatusFact | None:
    """Return the status; ``None`` when it is gone. Raises `PayloadError`."""
    return _decode(_status, payload)


def reply(
    result: ResultWord,
    reason: str | None = None,
    *,
    id: MessageId | None = None,
    current: str | None = None,
    allowed: Iterable[str] | None = None,
    missing: Iterable[str] | None = None,
) -> bytes:
    """Encode the reply to one fix or one request."""
    ways = None if allowed is None else tuple(allowed)
    parts = None if missing is None else tuple(missing)
    answer = Reply(id=id, result=result, reason=reason, current=current, allowed=ways, missing=parts)
    return _encode(answer)


def replies(items: Iterable[Reply]) -> bytes:
    """Encode the reply to an array: ``{"results": [{"id"?, "result", "reason"?}]}``."""
    return _encode(Replies(tuple(items)))


def _decode(decoder: msgspec.json.Decoder[Fact], payload: bytes | bytearray | memoryview) -> Fact | None:
    if not payload:
        return None
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(str(error)) from None


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant without a zone")
    return instant.astimezone(UTC)
