"""Storage of fixes: rows of `position`, each vehicle's newest position, and location checkpoints.

Invariants: a call runs inside the caller's transaction, and the caller commits. Locks are ``FOR NO KEY
UPDATE``, on vehicles first and then on deliveries, each in id order, so that two writers never deadlock. A
vehicle's newest position only moves forward in ``fix_time``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.database.engine import driver_cursor
from core.positions.checkpoints import write_location_checkpoints
from core.positions.columns import INSERT, STORE_ONE, Key, VehicleFix, copy_to_stage, row_of
from core.positions.newest import LOCK_VEHICLES, Newest, advance_all, facts_of, move_and_lock, read_vehicles
from core.rules.facts import PositionFact
from core.rules.fix import Fix


class StoredFixes(msgspec.Struct, frozen=True):
    """The result of `store`: ``fresh[i]`` is True if fix i was inserted, False if it was a duplicate."""

    fresh: list[bool]
    facts: list[PositionFact]


def store(
    session: Session, sightings: Sequence[VehicleFix], now: datetime, actor: Actor | None = None
) -> StoredFixes:
    """Store fixes of existing vehicles. The caller commits, then publishes the facts.

    ``actor`` is the person or integration that reported the fixes over REST; None if a device sent them.
    """
    if not sightings:
        return StoredFixes([], [])
    unique = {sighting.key: sighting for sighting in sightings}
    is_one = len(unique) == 1
    with driver_cursor(session.connection()) as cursor:
        newest, fresh_keys = (_insert_one if is_one else _insert)(cursor, list(unique.values()), now)
        by_vehicle = _by_vehicle(unique[key] for key in sorted(fresh_keys))
        moved = advance_all(newest, by_vehicle)
        deliveries = move_and_lock(cursor, moved, newest, is_one=is_one)

        def device_of(vehicle_id: int, fix: Fix) -> str | None:
            # Looked up only for the few fixes that become checkpoints; `Fix` itself has no device.
            return unique[vehicle_id, fix.fix_time, fix.latitude, fix.longitude].device_id

        write_location_checkpoints(cursor, deliveries, by_vehicle, device_of, now, actor)
    fresh = _mark_fresh(sightings, fresh_keys)
    repeated = {s.vehicle_id for s, is_fresh in zip(sightings, fresh, strict=True) if not is_fresh}
    return StoredFixes(
        fresh, facts_of(newest, {vehicle.vehicle_id for vehicle in moved} | repeated, deliveries)
    )


def _insert(
    cursor: Any, sightings: Sequence[VehicleFix], now: datetime
) -> tuple[dict[int, Newest], set[Key]]:
    """Insert the fixes; return the locked vehicles and the keys that were not duplicates."""
    copy_to_stage(cursor, sightings, now)
    newest = read_vehicles(cursor, LOCK_VEHICLES, {sighting.vehicle_id for sighting in sightings})
    cursor.execute(INSERT)
    return newest, set(cursor.fetchall())


def _insert_one(
    cursor: Any, sightings: Sequence[VehicleFix], now: datetime
) -> tuple[dict[int, Newest], set[Key]]:
    """Do the work of `_insert` for a single fix in one statement."""
    (sighting,) = sightings
    STORE_ONE.execute(cursor, row_of(sighting, now))
    ((is_fresh, *vehicle),) = cursor.fetchall()
    return {sighting.vehicle_id: Newest(*vehicle)}, {sighting.key} if is_fresh else set()


def _by_vehicle(sightings: Iterable[VehicleFix]) -> dict[int, list[Fix]]:
    """Group the fixes without a mark by vehicle; input in key order gives lists in ``fix_time`` order."""
    fixes: dict[int, list[Fix]] = defaultdict(list)
    for sighting in sightings:
        if not sighting.fix.is_suspect:
            fixes[sighting.vehicle_id].append(sighting.fix)
    return fixes


def _mark_fresh(sightings: Sequence[VehicleFix], fresh_keys: set[Key]) -> list[bool]:
    """Return one flag per fix; of several fixes with one key only the first is fresh."""
    left = set(fresh_keys)
    fresh = []
    for sighting in sightings:
        key = sighting.key
        fresh.append(key in left)
        left.discard(key)
    return fresh
