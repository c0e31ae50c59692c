"""Storage of fixes: rows of `position`, each vehicle's newest position, and location checkpoints.

Invariants: a call runs inside the caller's transaction, and the caller commits. Locks are ``FOR NO KEY
UPDATE``, on vehicles first and then on deliveries, each in id order, so that two writers never deadlock. A
vehicle's newest position only moves forward in ``fix_time``.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.database.engine import driver_cursor
from core.positions.checkpoints import lock_under_way, write_location_checkpoints
from core.positions.columns import insert_all, insert_one
from core.positions.newest import advance_all, facts_of, group_by_vehicle
from core.rules.facts import PositionFact
from core.rules.fix import VehicleFix


class StoredFixes(msgspec.Struct, frozen=True):
    """The result of `store`: ``fresh[i]`` is True if fix i was inserted, False if it was a duplicate."""

    fresh: list[bool]
    facts: list[PositionFact]


def store(
    session: Session, fixes: Sequence[VehicleFix], now: datetime, actor: Actor | None = None
) -> StoredFixes:
    """Store fixes of existing vehicles. The caller commits, then publishes the facts.

    ``actor`` is the person or integration that reported the fixes over REST; None if a device sent them.
    """
    if not fixes:
        return StoredFixes([], [])
    keys = [(one.vehicle_id, one.fix.fix_time, one.fix.latitude, one.fix.longitude) for one in fixes]
    unique = dict(zip(keys, fixes, strict=True))
    is_one = len(unique) == 1
    with driver_cursor(session.connection()) as cursor:
        newest, fresh_keys = (insert_one if is_one else insert_all)(cursor, unique, now)
        by_vehicle = group_by_vehicle(unique[key] for key in sorted(fresh_keys))
        moved, move = advance_all(cursor, newest, by_vehicle)
        deliveries = lock_under_way(cursor, newest, are_few=is_one, after=move)
        write_location_checkpoints(cursor, deliveries, by_vehicle, unique, now, actor)
    fresh = []
    for key in keys:
        fresh.append(key in fresh_keys)
        fresh_keys.discard(key)  # of several fixes with one key only the first is fresh
    repeated = {one.vehicle_id for one, is_fresh in zip(fixes, fresh, strict=True) if not is_fresh}
    shown = {vehicle.vehicle_id for vehicle in moved} | repeated
    return StoredFixes(fresh, facts_of(newest, shown, deliveries))
