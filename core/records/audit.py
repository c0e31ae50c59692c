"""The audit log. Each entry is written in the transaction of the change, by the function that makes it.

`changes` maps a field to ``{"before": …, "after": …}``, or to null if its value is not kept. Only fields
named in `KEPT` have their values recorded, so that a new column can leak no secret and no personal data.
"""

import enum
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, exists, insert, literal, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.access.scoping import is_ours, require_manager
from core.models.base import Base
from core.models.record import AuditEntry

KEPT: Mapping[str, frozenset[str]] = {
    "company": frozenset(
        {
            "slug",
            "name",
            "time_zone",
            "checkpoint_distance_m",
            "checkpoint_interval_s",
            "fixes_kept_days",
            "deliveries_kept_days",
            "arriving_soon_min",
            "late_after_min",
            "device_silent_after_min",
            "proof_required",
        }
    ),
    "user": frozenset({"role", "driver_id", "customer_id"}),
    "driver": frozenset(),
    "customer": frozenset(),
    "vehicle": frozenset({"name", "plate"}),
    "device": frozenset({"label", "vehicle_id", "driver_id", "secret_version"}),
    "load_order": frozenset({"reference"}),
    "delivery": frozenset(
        {
            "reference",
            "status",
            "customer_id",
            "driver_id",
            "vehicle_id",
            "load_order_id",
            "window_start",
            "window_end",
        }
    ),
    "api_token": frozenset({"name", "scopes", "expires_at"}),
    "webhook": frozenset({"description", "events"}),  # not the URL, which may contain a token
    "delivery_proof": frozenset({"delivery_id", "occurred_at"}),
}
SPOOFED = "spoofed"
SPOOFED_INTERVAL = timedelta(minutes=1)
WITHOUT_TENANT_KEPT = timedelta(days=30)
Changes = Mapping[str, Any]


class AuditSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of the audit log; None is no filter. ``since`` is inclusive, ``until`` exclusive."""

    actor_kind: str | None = None
    actor_id: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, actor: Actor, selection: AuditSelection, *, before_id: int | None, limit: int
) -> Sequence[AuditEntry]:
    """Return a page of the tenant's entries to a manager, newest first. Raises `Forbidden`."""
    require_manager(actor)
    query = select(AuditEntry).where(is_ours(actor, AuditEntry))
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    for name, value in msgspec.structs.asdict(selection).items():
        if value is not None and name not in {"since", "until"}:
            query = query.where(getattr(AuditEntry, name) == value)
    if selection.since is not None:
        query = query.where(AuditEntry.at >= selection.since)
    if selection.until is not None:
        query = query.where(AuditEntry.at < selection.until)
    return session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()


def change(session: Session, actor: Actor, row: Base, values: Mapping[str, Any]) -> None:
    """Set columns of ``row`` and write an entry of those that changed; write none if none did."""
    before = {name: getattr(row, name) for name in values}
    for name, value in values.items():
        setattr(row, name, value)
    changed = {name: (before[name], value) for name, value in values.items() if before[name] != value}
    if changed:
        note_changed(session, actor, "edited", row, changed)


def added(session: Session, actor: Actor, row: Base) -> None:
    """Write an entry of a new row, which must be flushed, with its initial values."""
    kind = _kind(row)
    values = {name: getattr(row, name) for name in KEPT[kind]}
    note(
        session,
        actor,
        "added",
        row,
        {name: {"after": _plain(value)} for name, value in sorted(values.items()) if value is not None},
    )


def note_changed(
    session: Session, actor: Actor, verb: str, row: Base, changed: Mapping[str, tuple[Any, Any]]
) -> None:
    """Write an entry of fields that were changed; ``changed`` maps each to its old and new value."""
    kept = KEPT[_kind(row)]
    changes = {
        name: {"before": _plain(before), "after": _plain(after)} if name in kept else None
        for name, (before, after) in changed.items()
    }
    note(session, actor, verb, row, changes)


def note(session: Session, actor: Actor, verb: str, row: Base, changes: Changes | None = None) -> None:
    """Write the entry ``<kind>.<verb>`` of a row of the actor's tenant; ``changes`` are stored unfiltered."""
    kind = _kind(row)
    session.add(
        AuditEntry(
            company_id=actor.company_id,
            actor_kind=actor.kind,
            actor_id=actor.identity,
            action=f"{kind}.{verb}",
            subject_kind=kind,
            subject_id=str(row.id),  # type: ignore[attr-defined]
            changes=dict(changes or {}),
        )
    )


def note_user(
    session: Session,
    action: str,
    *,
    company_id: int | None,
    user_id: int | None,
    by_user: bool = False,
    changes: Changes | None = None,
) -> None:
    """Write an entry about a user without an actor.

    ``by_user`` is True if the client has authenticated as that user. An entry without ``company_id`` is about
    an e-mail address of no user, and no tenant can read it.
    """
    session.add(
        AuditEntry(
            company_id=company_id,
            actor_kind="user" if by_user else "nobody",
            actor_id=str(user_id) if by_user else None,
            action=f"user.{action}",
            subject_kind="user",
            subject_id=str(user_id) if user_id is not None else None,
            changes=dict(changes or {}),
        )
    )


def note_spoofed(session: Session, company_id: int, device_id: str, now: datetime) -> None:
    """Write an entry that a device named another device or company."""
    # At most one entry per device and `SPOOFED_INTERVAL`; the quarantine has the messages.
    recent = exists().where(
        AuditEntry.company_id == company_id,
        AuditEntry.subject_kind == "device",
        AuditEntry.subject_id == device_id,
        AuditEntry.action == "device.spoofed",
        AuditEntry.at > now - SPOOFED_INTERVAL,
    )
    values = {
        "company_id": company_id,
        "at": now,
        "actor_kind": "device",
        "actor_id": device_id,
        "action": "device.spoofed",
        "subject_kind": "device",
        "subject_id": device_id,
        "changes": {},
    }
    columns = [literal(value, AuditEntry.__table__.c[name].type) for name, value in values.items()]
    session.execute(insert(AuditEntry).from_select(list(values), select(*columns).where(~recent)))


def purge_without_tenant(session: Session, now: datetime) -> int:
    """Purge old entries without a tenant (failed log-ins with unknown e-mail addresses); return how many."""
    gone = session.execute(
        delete(AuditEntry).where(AuditEntry.company_id.is_(None), AuditEntry.at < now - WITHOUT_TENANT_KEPT)
    )
    return gone.rowcount  # type: ignore[attr-defined, no-any-return]


def _kind(row: Base) -> str:
    return str(row.__tablename__).removeprefix("app_")


def _plain(value: Any) -> Any:
    """Return the value as JSON can represent it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    return value
