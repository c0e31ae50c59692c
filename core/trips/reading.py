"""Read a delivery's trip: its fixes while they are kept, else its location checkpoints.

However many fixes there are, at most `MAXIMUM_FIXES` are read and `MAXIMUM_SCANNED` scanned.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.trips import reading
from core.trips.measure import Drive, Meter, Sample
from core.trips.segments import TripSegment, trip_segments

MAXIMUM_FIXES = 100_000  # more than a day at one fix per second
MAXIMUM_SCANNED = 1_000_000
BATCH = 2_000  # rows per fetch of the server-side cursor
# Positions are joined to the vehicle, so that its row-level security (RLS) policy covers them too.
_WHERE = (
    " FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    " WHERE p.vehicle_id = :vehicle_id AND p.fix_time >= :start AND p.fix_time <= :end AND NOT p.suspect"
)
_COLUMNS = "p.fix_time, p.latitude, p.longitude, p.speed_kmh"
COUNT = text(f"SELECT count(*) FROM (SELECT 1{_WHERE} LIMIT :limit) found")  # noqa: S608  # our constants
ALL = text(f"SELECT {_COLUMNS}{_WHERE} ORDER BY p.fix_time")
EVERY_NTH = text(
    "SELECT fix_time, latitude, longitude, speed_kmh"  # noqa: S608
    f" FROM (SELECT {_COLUMNS}, row_number() OVER (ORDER BY p.fix_time) AS number{_WHERE}) numbered"
    " WHERE (number - 1) % :step = 0 ORDER BY fix_time"
)


class Source(enum.StrEnum):
    """The source of a trip's measurements."""

    FIXES = "fixes"
    CHECKPOINTS = "checkpoints"


class Driven(msgspec.Struct, frozen=True):
    """``drive`` is None before the start. ``fixes`` counts stored fixes, 0 once retention has purged them.

    ``is_complete`` is False when not every fix was read: every n-th of more than `MAXIMUM_FIXES`; the
    location checkpoints for more than `MAXIMUM_SCANNED` or for purged fixes. Fixes from before
    ``removed_before`` were purged by the company's retention policy.
    """

    distance_m: float
    fixes: int
    is_complete: bool
    measured_by: Source
    drive: Drive | None = None
    removed_before: datetime | None = None


def read(
    session: Session,
    parts: Sequence[TripSegment],
    start: datetime | None,
    end: datetime,
    checkpoints: Callable[[], Iterable[DeliveryCheckpoint]],
) -> Driven:
    """Measure the trip.

    ``checkpoints`` returns the location checkpoints in order, for when fixes will not do.
    """
    if start is None:
        return Driven(0.0, 0, True, Source.FIXES)
    meter = Meter(start, end)
    total = _count(session, parts)
    step = -(-total // MAXIMUM_FIXES)
    if 0 < total <= MAXIMUM_SCANNED:
        for leg in parts:
            meter.add(_samples(session, leg, step))
        return _driven(meter.drive(), total, step == 1, Source.FIXES)
    samples = [_sample(one) for one in checkpoints()]
    meter.add(samples)
    source = Source.CHECKPOINTS if samples else Source.FIXES
    return _driven(meter.drive(), total, not samples and total == 0, source)


def _driven(drive: Drive, total: int, is_complete: bool, source: Source) -> Driven:
    return Driven(drive.distance_m, total, is_complete, source, drive)


def _count(session: Session, parts: Sequence[TripSegment]) -> int:
    """Return the number of fixes, counted up to `MAXIMUM_SCANNED` + 1."""
    total = 0
    for leg in parts:
        left = MAXIMUM_SCANNED + 1 - total
        total += session.scalar(COUNT, _bounds(leg) | {"limit": left}) or 0
    return total


def _samples(session: Session, leg: TripSegment, step: int) -> Iterator[Sample]:
    """Yield the samples through a server-side cursor, so that they are never all in memory."""
    statement, values = (ALL, _bounds(leg)) if step == 1 else (EVERY_NTH, _bounds(leg) | {"step": step})
    rows = session.connection().execute(statement, values, execution_options={"yield_per": BATCH})
    try:
        for row in rows:
            yield Sample(*row)
    finally:
        rows.close()


def _sample(checkpoint: DeliveryCheckpoint) -> Sample:
    """Return the checkpoint as a sample; a location checkpoint always has coordinates."""
    return Sample(
        checkpoint.occurred_at,
        checkpoint.latitude or 0.0,
        checkpoint.longitude or 0.0,
        checkpoint.speed_kmh,
    )


def _bounds(leg: TripSegment) -> dict[str, Any]:
    return {"vehicle_id": leg.vehicle_id, "start": leg.start, "end": leg.end}


def measured(
    session: Session,
    delivery: Delivery,
    record: Sequence[DeliveryCheckpoint],
    now: datetime,
    checkpoints: Callable[[], Iterable[DeliveryCheckpoint]] = tuple,
) -> Driven:
    """Return the trip by its fixes, or as stored before they were purged. ``record``: `announced`."""
    if delivery.erased_at is not None:  # the track would lead to the erased customer's door
        return Driven(
            delivery.driven_m or 0.0,
            delivery.driven_fixes or 0,
            True,
            Source.FIXES,
            removed_before=delivery.erased_at,
        )
    end = delivery.ended_at or now
    parts = trip_segments(record, delivery.started_at, end)
    found = reading.read(session, parts, delivery.started_at, end, checkpoints)
    removed_before = fixes_removed_before(session, delivery)
    if removed_before is None:
        return found
    if delivery.driven_m is None:
        # Some fixes were purged while it was under way; its location checkpoints cover the whole trip.
        kept = reading.read(session, (), delivery.started_at, end, checkpoints)
        longer = max(kept, found, key=lambda one: one.distance_m)
        return msgspec.structs.replace(longer, is_complete=False, removed_before=removed_before)
    return msgspec.structs.replace(
        found,
        distance_m=delivery.driven_m,
        fixes=delivery.driven_fixes or 0,
        is_complete=found.is_complete and delivery.driven_fixes is not None,
        removed_before=removed_before,
    )


def fixes_removed_before(session: Session, delivery: Delivery) -> datetime | None:
    """Return the time before which fixes of the active window are purged; None if all are present."""
    if delivery.started_at is None:
        return None
    before = session.get_one(Company, delivery.company_id).fixes_removed_before
    return before if before is not None and before > delivery.started_at else None
