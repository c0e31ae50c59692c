"""Outbox rows as messages of the broker: encode them, and publish them in order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from broker import payloads
from broker.access_control import provisioning
from broker.link import BrokerLink
from core.records.outbox import OutboxKind
from core.rules.facts import AlertFact, StatusFact

LARGEST_BYTES = 256 * 1024  # a larger packet makes the broker disconnect us, again and again


class OutboxRow(NamedTuple):
    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int
    request_id: str | None = None


class RowError(Exception):
    """A row that cannot be published: malformed, or refused by the broker."""


def publish(link: BrokerLink, rows: Sequence[OutboxRow]) -> tuple[int, RowError | None]:
    """Publish rows in order, await all PUBACKs; return how many are done and the next one's error."""
    sent, error = [], None
    for row in rows:
        try:
            topic, payload, retain = message_of(row)
            if len(payload) > LARGEST_BYTES:
                raise RowError(f"{len(payload)} bytes are too many")
        except RowError as malformed:
            error = malformed
            break
        sent.append(link.publish(topic, payload, retain=retain))
    for done, answer in enumerate(link.wait_for_answers(sent)):
        if answer.is_failure:
            return done, RowError(f"PUBACK {answer.value:#04x} {answer}")
    return len(sent), error


def message_of(row: OutboxRow) -> tuple[str, bytes, bool]:
    """Return topic, payload and retain flag of a row to publish. Raises `RowError`."""
    try:
        match OutboxKind(row.kind):
            case OutboxKind.STATUS:
                topic, payload = payloads.status_message(msgspec.convert(row.payload, StatusFact))
            case OutboxKind.ALERT:
                topic, payload = payloads.alert_message(msgspec.convert(row.payload, AlertFact))
            case OutboxKind.VEHICLE_GONE:
                topic, payload = payloads.position_gone(row.payload["company"], row.payload["id"])
            case OutboxKind.DELIVERY_GONE:
                topic, payload = payloads.status_gone(row.payload["company"], row.payload["id"])
            case kind:
                raise RowError(f"{kind} is not published")
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise RowError(f"{type(error).__name__}: {error}") from None
    return topic, payload, row.kind != OutboxKind.ALERT


def subject_of(kind: str, payload: dict[str, Any]) -> str:
    """Return a row's subject for operators: its topic, or kind and id for an access change; ``-`` if bad."""
    if kind in provisioning.KINDS:
        return f"{kind} {payload.get('id', '-')}"
    try:
        return message_of(OutboxRow(0, kind, payload, 0))[0]
    except RowError:
        return "-"
