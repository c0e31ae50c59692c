"""Fixes into `position`, the vehicles' newest positions and the deliveries' location checkpoints.

Invariants: one call is one part of one transaction, which the caller commits. Locks are taken on vehicles,
then on deliveries, each in id order, ``FOR NO KEY UPDATE``, so that two writers never deadlock. A vehicle's
newest position only moves forward in ``fix_time``.
"""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.actors import Actor
from core.database import driver_cursor
from core.eta import smooth_speed
from core.facts import PositionFact
from core.fixes import Fix
from core.geo import distance_m
from core.location_checkpoints import UnderWay, lock_under_way, under_way, write_location_checkpoints
from core.models import Vehicle
from core.prepared import Named

STAGE_COLUMNS = (
    "vehicle_id, fix_time, latitude, longitude, received_at, altitude_m, speed_kmh, course_deg,"
    " accuracy_m, battery_percent, ignition, odometer_m, suspect, device_id, attributes"
)
MAKE_STAGE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage (LIKE position) ON COMMIT DELETE ROWS;"
    " SET LOCAL client_min_messages = warning"
)
INSERT = (
    f"INSERT INTO position ({STAGE_COLUMNS}) SELECT {STAGE_COLUMNS} FROM stage"  # noqa: S608  # our constants
    " ORDER BY vehicle_id, fix_time, latitude, longitude"
    " ON CONFLICT DO NOTHING RETURNING vehicle_id, fix_time, latitude, longitude"
)
READ_VEHICLES = """
SELECT v.id, c.slug, v.position_time, v.position_latitude, v.position_longitude, v.position_speed_kmh,
       v.position_course_deg, v.position_accuracy_m, v.smoothed_speed_kmh, v.archived_at IS NOT NULL
FROM vehicle v JOIN company c ON c.id = v.company_id
WHERE v.id = ANY(%s) ORDER BY v.id
"""
LOCK_VEHICLES = READ_VEHICLES + " FOR NO KEY UPDATE OF v"
# One fix alone: COPY and the stage, which every commit empties, would cost more than all its work. The row
# is made of the locked vehicle, so the lock comes first here too.
STORE_ONE = Named(
    "store_position",
    f"""
WITH newest AS MATERIALIZED ({LOCK_VEHICLES}), fresh AS (
    INSERT INTO position ({STAGE_COLUMNS})
    SELECT id, %s::timestamptz, %s::float8, %s::float8, %s::timestamptz, %s::float8, %s::float8, %s::float8,
           %s::float8, %s::float8, %s::boolean, %s::float8, %s::boolean, %s::text, %s::jsonb FROM newest
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT EXISTS (SELECT FROM fresh), newest.* FROM newest
""",  # noqa: S608  # our constants
)
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

Key = tuple[int, datetime, float, float]


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """One fix of one vehicle, and the device it came from (None: REST)."""

    vehicle_id: int
    fix: Fix
    device_id: str | None = None

    @property
    def key(self) -> Key:
        return self.vehicle_id, self.fix.fix_time, self.fix.latitude, self.fix.longitude


class Stored(msgspec.Struct, frozen=True):
    """``fresh[i]`` tells whether sighting i became a row (False: it was there already)."""

    fresh: list[bool]
    facts: list[PositionFact]


class Newest(msgspec.Struct):
    """A vehicle's newest position, as locked."""

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


def store(
    session: Session, sightings: Sequence[Sighting], now: datetime, actor: Actor | None = None
) -> Stored:
    """Store fixes of vehicles that exist. Facts are to be published once the caller has committed.

    ``actor`` is who reported them, when it was a person and no device.
    """
    if not sightings:
        return Stored([], [])
    unique = {sighting.key: sighting for sighting in sightings}
    is_one = len(unique) == 1
    with driver_cursor(session.connection()) as cursor:
        newest, fresh_keys = (_insert_one if is_one else _insert)(cursor, list(unique.values()), now)
        by_vehicle = _by_vehicle(unique[key] for key in sorted(fresh_keys))
        moved = _advance_all(newest, by_vehicle)
        deliveries = _move_and_lock(cursor, moved, newest, is_one=is_one)

        def device_of(vehicle_id: int, fix: Fix) -> str | None:
            """Asked for the few fixes that become checkpoints, so that the many need not carry it."""
            return unique[vehicle_id, fix.fix_time, fix.latitude, fix.longitude].device_id

        write_location_checkpoints(cursor, deliveries, by_vehicle, device_of, now, actor)
    fresh = _mark_fresh(sightings, fresh_keys)
    repeated = {s.vehicle_id for s, is_fresh in zip(sightings, fresh, strict=True) if not is_fresh}
    return Stored(fresh, _facts(newest, {vehicle.vehicle_id for vehicle in moved} | repeated, deliveries))


def newest_facts(session: Session, part: int, parts: int) -> list[PositionFact]:
    """The facts as they stand, for publishing again what a broker forgot: of the vehicles in one part.

    ``id % parts == part``, so that workers share the fleet; archived vehicles are gone.
    """
    vehicle_ids = session.scalars(
        select(Vehicle.id).where(
            Vehicle.id % parts == part, Vehicle.position_time.is_not(None), Vehicle.archived_at.is_(None)
        )
    ).all()
    with driver_cursor(session.connection()) as cursor:
        newest = _read_vehicles(cursor, READ_VEHICLES, vehicle_ids)
        return _facts(newest, set(newest), under_way(cursor, newest))


def _read_vehicles(cursor: Any, query: str, vehicle_ids: Iterable[int]) -> dict[int, Newest]:
    cursor.execute(query, (list(vehicle_ids),))
    return {row[0]: Newest(*row) for row in cursor.fetchall()}


def _copy_to_stage(cursor: Any, sightings: Iterable[Sighting], now: datetime) -> None:
    cursor.execute(MAKE_STAGE)
    received_at = now.isoformat()
    rows = io.StringIO("".join([_copy_line(sighting, received_at) for sighting in sightings]))
    cursor.copy_expert(f"COPY stage ({STAGE_COLUMNS}) FROM STDIN", rows)


def _copy_line(sighting: Sighting, received_at: str) -> str:
    """One row of COPY's text format: tab-separated, ``\\N`` for NULL."""
    fix = sighting.fix
    attributes = "\\N"
    if fix.attributes:
        attributes = msgspec.json.encode(fix.attributes).decode().replace("\\", "\\\\")
    return (
        f"{sighting.vehicle_id}\t{fix.fix_time}\t{fix.latitude}\t{fix.longitude}\t{received_at}\t"
        f"{_field(fix.altitude_m)}\t{_field(fix.speed_kmh)}\t{_field(fix.course_deg)}\t"
        f"{_field(fix.accuracy_m)}\t{_field(fix.battery_percent)}\t{_field(fix.ignition)}\t"
        f"{_field(fix.odometer_m)}\t{fix.is_suspect}\t{_field(sighting.device_id)}\t{attributes}\n"
    )


def _field(value: object) -> object:
    return "\\N" if value is None else value


def _insert(cursor: Any, sightings: Sequence[Sighting], now: datetime) -> tuple[dict[int, Newest], set[Key]]:
    """The vehicles, locked, and the keys that were not there before."""
    _copy_to_stage(cursor, sightings, now)
    newest = _read_vehicles(cursor, LOCK_VEHICLES, {sighting.vehicle_id for sighting in sightings})
    cursor.execute(INSERT)
    return newest, set(cursor.fetchall())


def _insert_one(
    cursor: Any, sightings: Sequence[Sighting], now: datetime
) -> tuple[dict[int, Newest], set[Key]]:
    """`_insert` of a single one, in one statement."""
    (sighting,) = sightings
    STORE_ONE.execute(cursor, _row(sighting, now))
    ((is_fresh, *vehicle),) = cursor.fetchall()
    return {sighting.vehicle_id: Newest(*vehicle)}, {sighting.key} if is_fresh else set()


def _row(sighting: Sighting, now: datetime) -> tuple[object, ...]:
    """The vehicle, then the other `STAGE_COLUMNS`."""
    fix = sighting.fix
    return (
        [sighting.vehicle_id],
        fix.fix_time,
        fix.latitude,
        fix.longitude,
        now,
        fix.altitude_m,
        fix.speed_kmh,
        fix.course_deg,
        fix.accuracy_m,
        fix.battery_percent,
        fix.ignition,
        fix.odometer_m,
        fix.is_suspect,
        sighting.device_id,
        msgspec.json.encode(fix.attributes).decode() if fix.attributes else None,
    )


def _by_vehicle(sightings: Iterable[Sighting]) -> dict[int, list[Fix]]:
    """Fresh, believable fixes of each vehicle; given in key order, so each list is in ``fix_time`` order."""
    fixes: dict[int, list[Fix]] = defaultdict(list)
    for sighting in sightings:
        if not sighting.fix.is_suspect:
            fixes[sighting.vehicle_id].append(sighting.fix)
    return fixes


def _advance_all(newest: dict[int, Newest], fixes: dict[int, list[Fix]]) -> list[Newest]:
    """Advance the vehicles whose last fresh fix is newer; returns those."""
    moved = []
    for vehicle_id, vehicle_fixes in fixes.items():
        vehicle = newest[vehicle_id]
        if vehicle.fix_time is None or vehicle_fixes[-1].fix_time > vehicle.fix_time:
            _advance(vehicle, vehicle_fixes[-1])
            moved.append(vehicle)
    return moved


def _move_and_lock(
    cursor: Any, moved: list[Newest], newest: Iterable[int], *, is_one: bool
) -> list[UnderWay]:
    """Write the newest positions, then lock the deliveries under way on all vehicles: one message."""
    if not moved:
        return lock_under_way(cursor, newest, are_few=is_one)
    rows = [msgspec.structs.astuple(vehicle) for vehicle in moved]
    ids, _companies, *columns, _archived = (list(column) for column in zip(*rows, strict=True))
    values = (ids, *columns)
    move = MOVE_ONE.call(cursor, values) if is_one else cursor.mogrify(MOVE_VEHICLES, values).decode()
    return lock_under_way(cursor, newest, are_few=is_one, after=f"{move};")


def _advance(vehicle: Newest, fix: Fix) -> None:
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


def _mark_fresh(sightings: Sequence[Sighting], fresh_keys: set[Key]) -> list[bool]:
    """A key that stands twice in one call is fresh once."""
    left = set(fresh_keys)
    fresh = []
    for sighting in sightings:
        key = sighting.key
        fresh.append(key in left)
        left.discard(key)
    return fresh


def _facts(
    newest: dict[int, Newest], vehicle_ids: set[int], deliveries: list[UnderWay]
) -> list[PositionFact]:
    """A fact names the deliveries that may see it: not those that began after its fix.

    A vehicle may have been archived since its device was looked up: the lock shows it, and it has no fact.
    """
    on_vehicle: dict[int, list[UnderWay]] = defaultdict(list)
    for delivery in deliveries:
        fix_time = newest[delivery.vehicle_id].fix_time
        if fix_time is not None and fix_time >= delivery.since:
            on_vehicle[delivery.vehicle_id].append(delivery)
    return [
        _fact(newest[vehicle_id], on_vehicle[vehicle_id])
        for vehicle_id in sorted(vehicle_ids)
        if newest[vehicle_id].fix_time is not None and not newest[vehicle_id].is_archived
    ]


def _fact(vehicle: Newest, deliveries: Sequence[UnderWay]) -> PositionFact:
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
