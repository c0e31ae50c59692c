"""The track of a delivery's active window, segment by segment, streamed so that memory does not grow."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import lookup
from core.errors import Forbidden
from core.trips.reading import fixes_removed_before
from core.trips.segments import TripSegment, announced, trip_segments

MAXIMUM_SPAN = timedelta(days=366)
BATCH = 1_000  # rows per fetch of the server-side cursor
FIXES = text(
    # Positions are joined to the vehicle, so that its row-level security (RLS) policy covers them too.
    "SELECT p.fix_time, p.latitude, p.longitude, p.altitude_m, p.speed_kmh, p.course_deg, p.accuracy_m,"
    " p.battery_percent, p.device_id FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    " WHERE p.vehicle_id = :vehicle_id AND p.fix_time >= :start AND p.fix_time <= :end AND NOT p.suspect"
    " ORDER BY p.fix_time, p.latitude, p.longitude"
)


class Track(msgspec.Struct, frozen=True):
    """The bounds of a track: ``legs`` are its trip segments, in time order.

    ``start`` is None before the pickup. A window is cut after `MAXIMUM_SPAN`. Fixes from before
    ``removed_before`` were purged by the company's retention policy.
    """

    delivery_id: int
    reference: str
    start: datetime | None
    end: datetime | None
    legs: Sequence[TripSegment]
    removed_before: datetime | None = None


class TrackFix(msgspec.Struct, frozen=True, gc=False):
    """Degrees WGS 84, metres, km/h, percent; ``fix_time`` is by the device's clock, in UTC."""

    vehicle_id: int
    fix_time: datetime
    latitude: float
    longitude: float
    altitude_m: float | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    battery_percent: float | None = None
    device_id: str | None = None


def find(session: Session, actor: Actor, delivery_id: int, now: datetime) -> Track:
    """Return the track's bounds. Raises `NotFound`, or `Forbidden` for customers: it shows other stops."""
    delivery = lookup.find(session, actor, delivery_id)
    if not actor.sees_track:
        raise Forbidden("The track is for the delivery's driver and the company's staff.")
    start, end = delivery.started_at, None
    if start is not None:
        end = min(delivery.ended_at or now, start + MAXIMUM_SPAN)
    # The vehicle's fixes outlive an erased customer, but must no longer lead to that customer's door.
    is_shown = end is not None and delivery.erased_at is None
    parts = trip_segments(announced(session, delivery_id), start, end) if is_shown and end else []
    removed_before = delivery.erased_at or fixes_removed_before(session, delivery)
    return Track(delivery_id, delivery.reference, start, end, parts, removed_before)


def fixes(session: Session, leg: TripSegment) -> Iterator[TrackFix]:
    """Yield fixes in time order through a server-side cursor, which lives as long as the transaction."""
    rows = session.connection().execute(FIXES, _bounds(leg), execution_options={"yield_per": BATCH})
    try:
        for row in rows:
            yield TrackFix(leg.vehicle_id, *row)
    finally:
        rows.close()


def read_only(session: Session) -> None:
    """Make the rest of this transaction read-only."""
    session.execute(text("SET TRANSACTION READ ONLY"))


def _bounds(leg: TripSegment) -> dict[str, Any]:
    return {"vehicle_id": leg.vehicle_id, "start": leg.start, "end": leg.end}
