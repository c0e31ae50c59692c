"""Retention: fixes and ended deliveries as their company chose, operational records as `AGES` says.

Rows are purged in small batches. Each is a transaction of its caller's, and takes no lock that others need. A
delivery's distance is stored before its fixes are purged. `database.partitions` drops whole partitions.
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
# Rows that belong to a delivery, in the order of deletion; attempts and pictures go with their parents.
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
    """One company's bounds; None: kept for ever. They are at midnight UTC, so they move once per day."""

    company_id: int
    fixes_before: datetime | None
    deliveries_before: datetime | None


class Age(msgspec.Struct, frozen=True):
    """A table whose rows are purged ``days`` after ``column``; its ids are in time order."""

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
    """Return every company's bounds. The company that keeps fixes longest loses them by partition.

    See `months_before`.
    """
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
    """Return the present bounds, but none later than in ``bounds``, up to which distances are stored.

    A run takes hours, and a company that has chosen to keep more in the meantime must not lose it.
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
    """Return the time before which no company needs fixes; None if one keeps them for ever or none exists."""
    befores = [bound.fixes_before for bound in bounds]
    present = [before for before in befores if before is not None]
    return min(present) if present and len(present) == len(befores) else None


def measure(session: Session, company_id: int, before: datetime, now: datetime, limit: int) -> int:
    """Store the distance of ended deliveries whose fixes are about to be purged; return how many."""
    deliveries = session.scalars(_ended(company_id, limit).where(*_unmeasured(before))).all()
    for delivery in deliveries:
        write_down(session, delivery, now)
    return len(deliveries)


def write_down(session: Session, delivery: Delivery, now: datetime) -> None:
    """Store the distance while the fixes exist; ``driven_fixes`` stays None if some were missing."""
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
    """Select deliveries to change; those that another transaction has locked are left for the next run."""
    return (
        select(Delivery)
        .where(Delivery.company_id == company_id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )


def note_removal(session: Session, company_id: int, before: datetime) -> None:
    """Store that fixes before ``before`` are purged, so that reports and tracks say so."""
    has_moved = or_(Company.fixes_removed_before.is_(None), Company.fixes_removed_before < before)
    session.execute(
        update(Company).where(Company.id == company_id, has_moved).values(fixes_removed_before=before)
    )


def vehicles_with_old_fixes(session: Session, company_id: int, before: datetime) -> Sequence[int]:
    """Return all of the company's vehicles, or none when it has no old fix at all."""
    if not session.scalar(OLD_FIXES, {"company_id": company_id, "before": before}):
        return []
    return session.scalars(
        select(Vehicle.id).where(Vehicle.company_id == company_id).order_by(Vehicle.id)
    ).all()


def delete_fixes(session: Session, vehicle_id: int, before: datetime, limit: int) -> int:
    """Purge about ``limit`` of the vehicle's oldest fixes from before ``before``; return how many.

    The range is on the primary key (vehicle, time), so only rows that are no longer written get locked.
    """
    known = {"vehicle_id": vehicle_id, "before": before, "limit": limit}
    last = session.scalar(NEXT_FIXES, known)
    if last is None:
        return 0
    return _count(session.execute(DELETE_FIXES, {"vehicle_id": vehicle_id, "last": last}))


def delete_deliveries(session: Session, company_id: int, before: datetime, limit: int) -> int:
    """Purge deliveries that ended before ``before``, with their dependent rows; return how many.

    A delivery with a fact retained by the broker waits until that is cleared.
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
    """Purge old rows among the first ``limit`` by id, which needs no index on the time."""
    statement = text(
        f"DELETE FROM {age.table} WHERE id IN (SELECT f.id FROM"  # noqa: S608  # our constants
        f" (SELECT id, {age.column} AS at FROM {age.table} ORDER BY id LIMIT :limit) f WHERE f.at < :before)"
    )
    before = now - timedelta(days=age.days)
    return _count(session.execute(statement, {"limit": limit, "before": before}))


def _count(result: object) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
