"""How long things are kept: fixes and ended deliveries as their company says, records of use as `AGES` says.

Everything goes in small parts, each a transaction of its caller's that takes no lock anybody else wants. A
delivery's distance is written down before its fixes go. Dropping whole months is `database.partitions`' work.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, CursorResult, Select, or_, select, text, update
from sqlalchemy.orm import Session

from core.database import partitions
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.reporting import delivery_report
from core.rules.lifecycle import FINAL
from core.trips import reading
from core.trips.segments import announced

OLD_FIXES = text(
    "SELECT EXISTS (SELECT p.vehicle_id FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    " WHERE v.company_id = :company_id AND p.fix_time < :before)"
)
NEXT_FIXES = text(
    "SELECT max(s.fix_time) FROM ("
    " SELECT p.fix_time FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    " WHERE p.vehicle_id = :vehicle_id AND p.fix_time < :before ORDER BY p.fix_time LIMIT :limit) s"
)
DELETE_FIXES = text("DELETE FROM position WHERE vehicle_id = :vehicle_id AND fix_time <= :last")
# What hangs on a delivery, in the order in which it goes; attempts and pictures go with theirs.
HANGING = (
    "DELETE FROM notification WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery_proof WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery_checkpoint WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery WHERE id = ANY(:ids)",
)
DELETE_LOADS = text(
    "DELETE FROM load_order o WHERE o.id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM delivery d WHERE d.load_order_id = o.id)"
)


class Kept(msgspec.Struct, frozen=True):
    """One company's bounds; None: for ever. They lie at UTC's midnight, so they move once a day."""

    company_id: int
    fixes_before: datetime | None
    deliveries_before: datetime | None


class Age(msgspec.Struct, frozen=True):
    """A table whose rows go some days after the instant in ``column``; ids are in order of time."""

    table: str
    column: str
    days: int


AGES = (
    Age("quarantine", "received_at", 90),
    Age("quarantine_count", "hour", 90),
    Age("audit_entry", "at", 730),
    Age("outbox", "parked_at", 90),
)


def kept(session: Session, now: datetime) -> list[Kept]:
    """Every company's bounds. Who keeps fixes longest loses them by whole months: see `months_before`."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = session.execute(
        select(Company.id, Company.fixes_kept_days, Company.deliveries_kept_days).order_by(Company.id)
    ).all()
    longest = max((days for _, days, _ in rows if days is not None), default=None)
    is_bounded = all(days is not None for _, days, _ in rows)
    return [
        Kept(
            company_id,
            _fixes_before(midnight, fix_days, by_months=is_bounded and fix_days == longest),
            None if delivery_days is None else midnight - timedelta(days=delivery_days),
        )
        for company_id, fix_days, delivery_days in rows
    ]


def _fixes_before(midnight: datetime, days: int | None, *, by_months: bool) -> datetime | None:
    if days is None:
        return None
    before = midnight - timedelta(days=days)
    return partitions.month_start(before) if by_months else before


def still(session: Session, bounds: Sequence[Kept], now: datetime) -> list[Kept]:
    """The bounds as they are by now, but none later than in ``bounds``, up to which all was measured.

    A run takes hours: who has meanwhile chosen to keep more must not lose it.
    """
    known = {bound.company_id: bound for bound in bounds}
    return [_earlier(known.get(bound.company_id, bound), bound) for bound in kept(session, now)]


def _earlier(one: Kept, other: Kept) -> Kept:
    return Kept(
        one.company_id,
        _first(one.fixes_before, other.fixes_before),
        _first(one.deliveries_before, other.deliveries_before),
    )


def _first(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else min(one, other)


def months_before(bounds: Sequence[Kept]) -> datetime | None:
    """Before when no company wants a fix; None: one keeps them for ever, or there is none."""
    befores = [bound.fixes_before for bound in bounds]
    present = [before for before in befores if before is not None]
    return min(present) if present and len(present) == len(befores) else None


def measure(session: Session, company_id: int, before: datetime, now: datetime, limit: int) -> int:
    """Write down the distance of ended deliveries whose fixes are about to go; gives how many."""
    deliveries = session.scalars(_ended(company_id, limit).where(*_unmeasured(before))).all()
    for delivery in deliveries:
        write_down(session, delivery, now)
    return len(deliveries)


def write_down(session: Session, delivery: Delivery, now: datetime) -> None:
    """How far it was, while its fixes still tell; ``driven_fixes`` stays None where not all of them did."""
    driven = reading.measured(
        session,
        delivery,
        announced(session, delivery.id),
        now,
        lambda: delivery_report.location_checkpoints(session, delivery.id),
    )
    delivery.driven_m = driven.distance_m
    delivery.driven_fixes = driven.fixes if driven.is_complete else None


def _unmeasured(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Delivery.started_at < before, Delivery.driven_m.is_(None), Delivery.ended_at.is_not(None)


def _ended(company_id: int, limit: int) -> Select[Delivery]:
    """Deliveries to change; those that somebody else holds are left for the next time."""
    return (
        select(Delivery)
        .where(Delivery.company_id == company_id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )


def note_removal(session: Session, company_id: int, before: datetime) -> None:
    """From here on reports and tracks say that older fixes are gone."""
    has_moved = or_(Company.fixes_removed_before.is_(None), Company.fixes_removed_before < before)
    session.execute(
        update(Company).where(Company.id == company_id, has_moved).values(fixes_removed_before=before)
    )


def vehicles_with_old_fixes(session: Session, company_id: int, before: datetime) -> Sequence[int]:
    """The vehicles to look at: all of the company, or none when it has no old fix at all."""
    if not session.scalar(OLD_FIXES, {"company_id": company_id, "before": before}):
        return []
    return session.scalars(
        select(Vehicle.id).where(Vehicle.company_id == company_id).order_by(Vehicle.id)
    ).all()


def delete_fixes(session: Session, vehicle_id: int, before: datetime, limit: int) -> int:
    """Delete about ``limit`` of the vehicle's oldest fixes from before ``before``; gives how many.

    By the key, whose beginning is the vehicle and the time: no lock but on rows that nobody writes any more.
    """
    known = {"vehicle_id": vehicle_id, "before": before, "limit": limit}
    last = session.scalar(NEXT_FIXES, known)
    if last is None:
        return 0
    return _count(session.execute(DELETE_FIXES, {"vehicle_id": vehicle_id, "last": last}))


def delete_deliveries(session: Session, company_id: int, before: datetime, limit: int) -> int:
    """Delete deliveries that ended before ``before``, with all that hangs on them; gives how many.

    One whose retained fact is still on the broker waits until that is cleared.
    """
    rows = session.scalars(
        _ended(company_id, limit)
        .with_for_update(skip_locked=True)
        .where(Delivery.ended_at < before, Delivery.status.in_(FINAL), ~Delivery.fact_retained)
        .order_by(Delivery.ended_at)
    ).all()
    ids = [delivery.id for delivery in rows]
    if ids:
        for statement in HANGING:
            session.execute(text(statement), {"ids": ids})
        loads = sorted({row.load_order_id for row in rows if row.load_order_id is not None})
        session.execute(DELETE_LOADS, {"ids": loads})
    return len(ids)


def delete_aged(session: Session, age: Age, now: datetime, limit: int) -> int:
    """Delete what is too old among the first ``limit`` rows by id: that needs no index on the time."""
    statement = text(
        f"DELETE FROM {age.table} WHERE id IN (SELECT f.id FROM"  # noqa: S608  # our constants
        f" (SELECT id, {age.column} AS at FROM {age.table} ORDER BY id LIMIT :limit) f WHERE f.at < :before)"
    )
    before = now - timedelta(days=age.days)
    return _count(session.execute(statement, {"limit": limit, "before": before}))


def _count(result: object) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
