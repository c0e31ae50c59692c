"""The quarantine of refused messages, each with its reason; `records.quarantine_bounds` limits its size."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import LargeBinary, delete, func, insert, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.access.scoping import is_ours, require_manager
from core.models.record import Quarantine, QuarantineCount
from core.records import audit, quarantine_bounds
from core.records.quarantine_bounds import LAST_BYTES, MAXIMUM_RAW_BYTES, CountKey, HourCount

MAXIMUM_DETAIL = 500
MAXIMUM_TOPIC = 300  # a device may write to topics of 64 kB
MAXIMUM_DEVICE = 64
SHOWN_BYTES = 2_000
SHOWN_COUNTS = 100


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One refused message or item. ``company_id`` is None when the device is unknown."""

    company_id: int | None
    device_id: str | None
    topic: str
    raw: bytes
    reason: str
    detail: str


class QuarantineEntry(msgspec.Struct, frozen=True):
    """One row as the API shows it: the first bytes of the message, and the length and hash of the whole."""

    id: int
    device_id: str | None
    topic: str
    reason: str
    detail: str
    received_at: datetime
    beginning: bytes
    raw_bytes: int
    raw_sha256: bytes


class NotKept(msgspec.Struct, frozen=True):
    """A device's messages of one hour that were only counted; ``last_id`` is the last one's row, if any."""

    device_id: str | None
    hour: datetime
    messages: int
    raw_bytes: int
    last_id: int | None


def page(session: Session, actor: Actor, *, before_id: int | None, limit: int) -> list[QuarantineEntry]:
    """Return a page of the tenant's rows, newest first. Raises `Forbidden`."""
    require_manager(actor)  # a message may contain any data
    query = select(
        Quarantine.id,
        Quarantine.device_id,
        Quarantine.topic,
        Quarantine.reason,
        Quarantine.detail,
        Quarantine.received_at,
        func.substr(Quarantine.raw, 1, SHOWN_BYTES, type_=LargeBinary),
        func.coalesce(Quarantine.raw_bytes, func.octet_length(Quarantine.raw)),
        func.coalesce(Quarantine.raw_sha256, func.sha256(Quarantine.raw)),
    ).where(is_ours(actor, Quarantine))
    if before_id is not None:
        query = query.where(Quarantine.id < before_id)
    rows = session.execute(query.order_by(Quarantine.id.desc()).limit(limit))
    return [QuarantineEntry(*row) for row in rows]


def not_kept(session: Session, actor: Actor) -> list[NotKept]:
    """Return the newest `SHOWN_COUNTS` pairs of device and hour with messages that were only counted."""
    require_manager(actor)
    table = QuarantineCount
    rows = session.execute(
        select(
            func.nullif(table.device_id, ""),
            table.hour,
            table.not_kept_rows,
            table.not_kept_bytes,
            table.last_id,
        )
        .where(is_ours(actor, table), table.not_kept_rows > 0, table.device_id.is_not(None))
        .order_by(table.id.desc())
        .limit(SHOWN_COUNTS)
    )
    return [NotKept(*row) for row in rows]


def keep(session: Session, refused: Sequence[Quarantined], now: datetime) -> None:
    """Store the messages that the hourly bounds allow, count the others, and audit spoofed identities."""
    if not refused:
        return
    messages = [_storable_message(item) for item in refused]
    counts = quarantine_bounds.lock(session, messages, now)
    allotted = quarantine_bounds.allot(counts, messages)
    if allotted.kept:
        session.execute(insert(Quarantine), [_row(item, now, MAXIMUM_RAW_BYTES) for item in allotted.kept])
    if allotted.last:
        _replace_last(session, counts, allotted.last, now)
    quarantine_bounds.write(session, counts)
    for company_id, device_id in {(q.company_id, q.device_id) for q in messages if q.reason == audit.SPOOFED}:
        if company_id is not None and device_id is not None:
            audit.note_spoofed(session, company_id, device_id, now)


def _replace_last(
    session: Session,
    counts: Mapping[CountKey, HourCount],
    last: Mapping[CountKey, Quarantined],
    now: datetime,
) -> None:
    """Replace the row of the last message beyond each bound."""
    # Deleted and inserted, not updated, so that ids stay in chronological order.
    session.execute(delete(Quarantine).where(Quarantine.id.in_([counts[key].last_id for key in last])))
    statement = insert(Quarantine).returning(Quarantine.id, sort_by_parameter_order=True)
    ids = session.scalars(statement, [_row(item, now, LAST_BYTES) for item in last.values()])
    for key, row_id in zip(last, ids, strict=True):
        counts[key].last_id = row_id


def _row(item: Quarantined, now: datetime, maximum: int) -> dict[str, object]:
    return {
        "company_id": item.company_id,
        "device_id": item.device_id,
        "topic": item.topic,
        "raw": item.raw[:maximum],
        "raw_bytes": len(item.raw),
        "raw_sha256": hashlib.sha256(item.raw).digest(),
        "reason": item.reason,
        "detail": item.detail,
        "received_at": now,
    }


def _storable_message(item: Quarantined) -> Quarantined:
    device_id = None if item.device_id is None else _storable(item.device_id)[:MAXIMUM_DEVICE]
    topic, detail = _storable(item.topic)[:MAXIMUM_TOPIC], _storable(item.detail[:MAXIMUM_DETAIL])
    return msgspec.structs.replace(item, device_id=device_id, topic=topic, detail=detail)


def _storable(value: str) -> str:
    """Return the text with NUL and lone surrogates escaped, which PostgreSQL's text type rejects."""
    # The original is kept in the raw bytes.
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
