"""Trip segments of a delivery: which vehicle drove when. A reassignment changes the vehicle."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.models.delivery import DeliveryCheckpoint
from core.rules.enums import ANNOUNCED


class TripSegment(msgspec.Struct, frozen=True):
    """One vehicle's part of the active window."""

    vehicle_id: int
    start: datetime
    end: datetime


def trip_segments(
    announced: Sequence[DeliveryCheckpoint], start: datetime | None, end: datetime
) -> list[TripSegment]:
    """Return the trip segments between ``start`` and ``end``; a reassignment begins a new one."""
    if start is None:
        return []
    found: list[TripSegment] = []
    for (vehicle_id, since), (_, until) in pairwise([*_changes_of_vehicle(announced, start), (None, end)]):
        leg_start, leg_end = max(since, start), min(until, end)
        if vehicle_id is None or leg_start >= leg_end:
            continue
        if found and found[-1].vehicle_id == vehicle_id and found[-1].end == leg_start:
            leg_start = found.pop().start
        found.append(TripSegment(vehicle_id, leg_start, leg_end))
    return found


def _changes_of_vehicle(
    announced: Sequence[DeliveryCheckpoint], start: datetime
) -> list[tuple[int | None, datetime]]:
    """Return the vehicle after each change and since when; the first counts from the start.

    Only a change of vehicle counts, by its own time. Statuses in between do not: a phone reports them late,
    and the vehicle that they then name may have been assigned after they happened.
    """
    changes: list[tuple[int | None, datetime]] = []
    for checkpoint in announced:
        if not changes:
            changes.append((checkpoint.vehicle_id, min(checkpoint.occurred_at, start)))
        elif changes[-1][0] != checkpoint.vehicle_id:
            changes.append((checkpoint.vehicle_id, checkpoint.occurred_at))
    return changes


def announced(session: Session, delivery_id: int) -> Sequence[DeliveryCheckpoint]:
    """Return every status and assignment checkpoint of the delivery, in order."""
    return session.scalars(
        select(DeliveryCheckpoint)
        .where(
            DeliveryCheckpoint.delivery_id == delivery_id,
            DeliveryCheckpoint.kind.in_(ANNOUNCED),
        )
        .order_by(DeliveryCheckpoint.id)
    ).all()
