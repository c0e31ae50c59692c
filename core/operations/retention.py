"""Retention: fixes and ended deliveries as their company chose, operational records as `AGES` says.

Rows are purged in small batches. Each is a transaction of its caller's, and takes no lock that others need. A
delivery's distance is stored before its fixes are purged. `database.partitions` drops whole partitions.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, CursorResult, Select, or_, select, text, update
from sqlalchemy.orm import Session

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
DEPENDENT_ROWS = (
    "DELETE FROM notification WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery_proof WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery_checkpoint WHERE delivery_id = ANY(:ids)",
    "DELETE FROM delivery WHERE id = ANY(:ids)",
)
DELETE_LOADS = text(
    "DELETE FROM load_order o WHERE o.id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM delivery d WHERE d.load_order_id = o.id)"
)


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


def measure(session: Session, company_id: int, before: datetime, now: datetime, limit: int) -> int:
    """Store the distance of ended deliveries whose fixes are about to be purged; return how many."""
    deliveries = session.scalars(_ended(company_id, limit).where(*_unmeasured(before))).all()
    for delivery in deliveries:
        store_distance(session, delivery, now)
    return len(deliveries)


def store_distance(session: Session, delivery: Delivery, now: datetime) -> None:
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


def note_purge(session: Session, company_id: int, before: datetime) -> None:
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


def purge_fixes(session: Session, vehicle_id: int, before: datetime, limit: int) -> int:
    """Purge about ``limit`` of the vehicle's oldest fixes from before ``before``; return how many.

    The range is on the primary key (vehicle, time), so only rows that are no longer written get locked.
    """
    known = {"vehicle_id": vehicle_id, "before": before, "limit": limit}
    last = session.scalar(NEXT_FIXES, known)
    if last is None:
        return 0
    return _row_count(session.execute(DELETE_FIXES, {"vehicle_id": vehicle_id, "last": last}))


def purge_deliveries(session: Session, company_id: int, before: datetime, limit: int) -> int:
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
        for statement in DEPENDENT_ROWS:
            session.execute(text(statement), {"ids": ids})
        loads = sorted({row.load_order_id for row in rows if row.load_order_id is not None})
        session.execute(DELETE_LOADS, {"ids": loads})
    return len(ids)


def purge_aged(session: Session, age: Age, now: datetime, limit: int) -> int:
    """Purge old rows among the first ``limit`` by id, which needs no index on the time."""
    statement = text(
        f"DELETE FROM {age.table} WHERE id IN (SELECT f.id FROM"  # noqa: S608  # our constants
        f" (SELECT id, {age.column} AS at FROM {age.table} ORDER BY id LIMIT :limit) f WHERE f.at < :before)"
    )
    before = now - timedelta(days=age.days)
    return _row_count(session.execute(statement, {"limit": limit, "before": before}))


def _row_count(result: object) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
