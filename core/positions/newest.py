"""The newest position of each vehicle: lock it, advance it, and build the retained facts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database.engine import driver_cursor
from core.database.prepared import Named
from core.models.fleet import Vehicle
from core.positions.checkpoints import UnderWay, under_way
from core.rules.eta import smooth_speed
from core.rules.facts import PositionFact
from core.rules.fix import Fix, VehicleFix
from core.rules.geo import distance_m

READ_VEHICLES = """
SELECT v.id, c.slug, v.position_time, v.position_latitude, v.position_longitude, v.position_speed_kmh,
       v.position_course_deg, v.position_accuracy_m, v.smoothed_speed_kmh, v.archived_at IS NOT NULL
FROM vehicle v JOIN company c ON c.id = v.company_id
WHERE v.id = ANY(%s) ORDER BY v.id
"""
LOCK_VEHICLES = READ_VEHICLES + " FOR NO KEY UPDATE OF v"
MOVE_VEHICLES = """
UPDATE vehicle v SET position_time = n.fix_time, position_latitude = n.latitude,
       position_longitude = n.longitude, position_speed_kmh = n.speed_kmh,
       position_course_deg = n.course_deg, position_accuracy_m = n.accuracy_m,
       smoothed_speed_kmh = n.smoothed_speed_kmh
FROM unnest(%s::int[], %s::timestamptz[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],
            %s::float8[], %s::float8[])
     AS n(id, fix_time, latitude, longitude, speed_kmh, course_deg, accuracy_m, smoothed_speed_kmh)
WHERE v.id = n.id
"""

MOVE_ONE = Named("move_vehicle", MOVE_VEHICLES)


class NewestPosition(msgspec.Struct):
    """A vehicle's newest position as read, and its smoothed speed."""

    vehicle_id: int
    company: str
    fix_time: datetime | None
    latitude: float | None
    longitude: float | None
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None
    smoothed_speed_kmh: float | None
    is_archived: bool


def newest_facts(session: Session, part: int, parts: int) -> list[PositionFact]:
    """Return the current facts of one worker's part of the fleet, to republish after a broker lost them.

    The part is the vehicles with ``id % parts == part`` that have a position and are not archived.
    """
    vehicle_ids = session.scalars(
        select(Vehicle.id).where(
            Vehicle.id % parts == part, Vehicle.position_time.is_not(None), Vehicle.archived_at.is_(None)
        )
    ).all()
    with driver_cursor(session.connection()) as cursor:
        newest = read_vehicles(cursor, READ_VEHICLES, vehicle_ids)
        return facts_of(newest, set(newest), under_way(cursor, newest))


def read_vehicles(cursor: Any, query: str, vehicle_ids: Iterable[int]) -> dict[int, NewestPosition]:
    cursor.execute(query, (list(vehicle_ids),))
    return {row[0]: NewestPosition(*row) for row in cursor.fetchall()}


def group_by_vehicle(fixes: Iterable[VehicleFix]) -> dict[int, list[Fix]]:
    """Group the fixes without a mark by vehicle, in their order."""
    by_vehicle: dict[int, list[Fix]] = defaultdict(list)
    for vehicle_fix in fixes:
        if not vehicle_fix.fix.is_marked:
            by_vehicle[vehicle_fix.vehicle_id].append(vehicle_fix.fix)
    return by_vehicle


def advance_all(
    cursor: Any, newest: Mapping[int, NewestPosition], fixes: Mapping[int, Sequence[Fix]]
) -> tuple[list[NewestPosition], str]:
    """Advance the vehicles whose last fresh fix is newer than their position.

    Return those, and the SQL that writes them, to be sent with the caller's next statement.
    """
    moved = []
    for vehicle_id, vehicle_fixes in fixes.items():
        vehicle, last = newest[vehicle_id], vehicle_fixes[-1]
        if vehicle.fix_time is None or last.fix_time > vehicle.fix_time:
            _advance(vehicle, last)
            moved.append(vehicle)
    if not moved:
        return [], ""
    rows = [msgspec.structs.astuple(vehicle) for vehicle in moved]
    ids, _companies, *columns, _archived = (list(column) for column in zip(*rows, strict=True))
    values = (ids, *columns)
    if len(moved) == 1:
        return moved, f"{MOVE_ONE.call(cursor, values)};"
    return moved, f"{cursor.mogrify(MOVE_VEHICLES, values).decode()};"


def _advance(vehicle: NewestPosition, fix: Fix) -> None:
    seconds = (fix.fix_time - vehicle.fix_time).total_seconds() if vehicle.fix_time else 0.0
    speed_kmh = fix.speed_kmh
    if speed_kmh is None and vehicle.latitude is not None and vehicle.longitude is not None and seconds > 0:
        metres = distance_m(vehicle.latitude, vehicle.longitude, fix.latitude, fix.longitude)
        speed_kmh = metres / seconds * 3.6
    if speed_kmh is not None:
        vehicle.smoothed_speed_kmh = round(smooth_speed(vehicle.smoothed_speed_kmh, speed_kmh, seconds), 1)
    vehicle.fix_time = fix.fix_time
    vehicle.latitude = fix.latitude
    vehicle.longitude = fix.longitude
    vehicle.speed_kmh = fix.speed_kmh
    vehicle.course_deg = fix.course_deg
    vehicle.accuracy_m = fix.accuracy_m


def facts_of(
    newest: dict[int, NewestPosition], vehicle_ids: set[int], deliveries: list[UnderWay]
) -> list[PositionFact]:
    """Return the facts of these vehicles, each naming the deliveries that may see the position.

    A delivery that its vehicle began to serve only after the fix may not see it.
    """
    on_vehicle: dict[int, list[UnderWay]] = defaultdict(list)
    for delivery in deliveries:
        fix_time = newest[delivery.vehicle_id].fix_time
        if fix_time is not None and fix_time >= delivery.since:
            on_vehicle[delivery.vehicle_id].append(delivery)
    # A vehicle may have been archived since its device was looked up: the locked row shows that, and no fact
    # is made of it.
    return [
        _fact(newest[vehicle_id], on_vehicle[vehicle_id])
        for vehicle_id in sorted(vehicle_ids)
        if newest[vehicle_id].fix_time is not None and not newest[vehicle_id].is_archived
    ]


def _fact(vehicle: NewestPosition, deliveries: Sequence[UnderWay]) -> PositionFact:
    if vehicle.fix_time is None or vehicle.latitude is None or vehicle.longitude is None:
        raise ValueError(f"vehicle {vehicle.vehicle_id} has no position")
    return PositionFact(
        company=vehicle.company,
        vehicle=vehicle.vehicle_id,
        fix_time=vehicle.fix_time,
        latitude=vehicle.latitude,
        longitude=vehicle.longitude,
        speed_kmh=vehicle.speed_kmh,
        course_deg=vehicle.course_deg,
        accuracy_m=vehicle.accuracy_m,
        smoothed_speed_kmh=vehicle.smoothed_speed_kmh,
        deliveries=tuple([delivery.delivery_id for delivery in deliveries]),
        customers=tuple([delivery.customer_id for delivery in deliveries]),
        drivers=tuple([delivery.driver_id for delivery in deliveries]),
    )
