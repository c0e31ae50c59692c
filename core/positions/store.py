"""Fixes into `position`, the vehicles' newest positions and the deliveries' location checkpoints.

Invariants: one call is one part of one transaction, which the caller commits. Locks are taken on vehicles,
then on deliveries, each in id order, ``FOR NO KEY UPDATE``, so that two writers never deadlock. A vehicle's
newest position only moves forward in ``fix_time``.
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
    """``fresh[i]`` tells whether sighting i became a row (False: it was there already)."""

    fresh: list[bool]
    facts: list[PositionFact]


def store(
    session: Session, sightings: Sequence[VehicleFix], now: datetime, actor: Actor | None = None
) -> StoredFixes:
    """Store fixes of vehicles that exist. Facts are to be published once the caller has committed.

    ``actor`` is who reported them, when it was a person and no device.
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
            """Asked for the few fixes that become checkpoints, so that the many need not carry it."""
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
    """The vehicles, locked, and the keys that were not there before."""
    copy_to_stage(cursor, sightings, now)
    newest = read_vehicles(cursor, LOCK_VEHICLES, {sighting.vehicle_id for sighting in sightings})
    cursor.execute(INSERT)
    return newest, set(cursor.fetchall())


def _insert_one(
    cursor: Any, sightings: Sequence[VehicleFix], now: datetime
) -> tuple[dict[int, Newest], set[Key]]:
    """`_insert` of a single one, in one statement."""
    (sighting,) = sightings
    STORE_ONE.execute(cursor, row_of(sighting, now))
    ((is_fresh, *vehicle),) = cursor.fetchall()
    return {sighting.vehicle_id: Newest(*vehicle)}, {sighting.key} if is_fresh else set()


def _by_vehicle(sightings: Iterable[VehicleFix]) -> dict[int, list[Fix]]:
    """Fresh, believable fixes of each vehicle; given in key order, so each list is in ``fix_time`` order."""
    fixes: dict[int, list[Fix]] = defaultdict(list)
    for sighting in sightings:
        if not sighting.fix.is_suspect:
            fixes[sighting.vehicle_id].append(sighting.fix)
    return fixes


def _mark_fresh(sightings: Sequence[VehicleFix], fresh_keys: set[Key]) -> list[bool]:
    """A key that stands twice in one call is fresh once."""
    left = set(fresh_keys)
    fresh = []
    for sighting in sightings:
        key = sighting.key
        fresh.append(key in left)
        left.discard(key)
    return fresh
