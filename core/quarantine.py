"""Where messages go that cannot be used: whole, with the reason, so that nothing sent to us is lost."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import LargeBinary, func, insert, select
from sqlalchemy.orm import Session

from core import audit
from core.actors import Actor
from core.models import Quarantine
from core.scoping import is_ours, require_manager

MAXIMUM_RAW_BYTES = 512 * 1024  # the broker takes no larger message (max_packet_size)
MAXIMUM_DETAIL = 500
SHOWN_BYTES = 2_000


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One refused message or item. ``company_id`` is None when the device is unknown."""

    company_id: int | None
    device_id: str | None
    topic: str
    raw: bytes
    reason: str
    detail: str


class QuarantineEntry(msgspec.Struct, frozen=True):
    """One row as people see it: the beginning of the message, and how long it was."""

    id: int
    device_id: str | None
    topic: str
    reason: str
    detail: str
    received_at: datetime
    beginning: bytes
    raw_bytes: int


def page(session: Session, actor: Actor, *, before_id: int | None, limit: int) -> list[QuarantineEntry]:
    """The company's own, newest first. For managers: a message may hold anything."""
    require_manager(actor)
    query = select(
        Quarantine.id,
        Quarantine.device_id,
        Quarantine.topic,
        Quarantine.reason,
        Quarantine.detail,
        Quarantine.received_at,
        func.substr(Quarantine.raw, 1, SHOWN_BYTES, type_=LargeBinary),
        func.octet_length(Quarantine.raw),
    ).where(is_ours(actor, Quarantine))
    if before_id is not None:
        query = query.where(Quarantine.id < before_id)
    rows = session.execute(query.order_by(Quarantine.id.desc()).limit(limit))
    return [QuarantineEntry(*row) for row in rows]


def keep(session: Session, refused: Sequence[Quarantined], now: datetime) -> None:
    if not refused:
        return
    session.execute(insert(Quarantine), [_row(item, now) for item in refused])
    for company_id, device_id in {(q.company_id, q.device_id) for q in refused if q.reason == audit.SPOOFED}:
        if company_id is not None and device_id is not None:
            audit.note_spoofed(session, company_id, device_id, now)


def _row(item: Quarantined, now: datetime) -> dict[str, object]:
    return {
        "company_id": item.company_id,
        "device_id": _storable(item.device_id),
        "topic": _storable(item.topic),
        "raw": item.raw[:MAXIMUM_RAW_BYTES],
        "reason": item.reason,
        "detail": _storable(item.detail[:MAXIMUM_DETAIL]),
        "received_at": now,
    }


def _storable(value: str | None) -> str | None:
    """PostgreSQL's text takes neither NUL nor lone surrogates; the raw bytes keep the truth."""
    if value is None:
        return None
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
