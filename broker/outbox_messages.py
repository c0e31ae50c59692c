"""Encode outbox rows as broker messages. Pure."""

from typing import Any, NamedTuple

import msgspec

from broker import payloads
from broker.access_control import provisioning
from core.records.outbox import OutboxKind
from core.rules.facts import AlertFact, StatusFact


class OutboxRow(NamedTuple):
    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int

    @property
    def is_access(self) -> bool:
        return self.kind in provisioning.KINDS


class RowError(Exception):
    """A row that cannot be published: malformed, or refused by the broker."""


def subject_of(kind: str, payload: dict[str, Any]) -> str:
    """Return a row's subject for operators: its topic, or kind and id for an access change; ``-`` if bad."""
    if kind in provisioning.KINDS:
        return f"{kind} {payload.get('id', '-')}"
    try:
        return message_of(OutboxRow(0, kind, payload, 0))[0]
    except RowError:
        return "-"


def message_of(row: OutboxRow) -> tuple[str, bytes, bool]:
    """Return topic, payload and retain flag of a row to publish. Raises `RowError`."""
    try:
        match OutboxKind(row.kind):
            case OutboxKind.STATUS:
                return *payloads.status_message(msgspec.convert(row.payload, StatusFact)), True
            case OutboxKind.ALERT:
                return *payloads.alert_message(msgspec.convert(row.payload, AlertFact)), False
            case OutboxKind.VEHICLE_GONE:
                return *payloads.position_gone(row.payload["company"], row.payload["id"]), True
            case OutboxKind.DELIVERY_GONE:
                return *payloads.status_gone(row.payload["company"], row.payload["id"]), True
            case kind:
                raise RowError(f"{kind} is not published")
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise RowError(f"{type(error).__name__}: {error}") from None
