"""The checkpoint policy applied to the deliveries under way on a batch's vehicles."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from core.access.actors import Actor
from core.database.prepared import Named
from core.models.base import one_of
from core.rules.checkpoint_policy import CheckpointPolicy, LastCheckpoint, location_checkpoints
from core.rules.fix import Fix, FixKey, VehicleFix
from core.rules.lifecycle import UNDER_WAY

# GREATEST ignores NULL, as `core.rules.lifecycle.served_since` does.
READ = f"""
SELECT d.id, d.company_id, d.vehicle_id, d.customer_id, d.driver_id, d.status,
       GREATEST(d.started_at, d.vehicle_since), d.checkpoint_time, d.checkpoint_latitude,
       d.checkpoint_longitude, c.checkpoint_distance_m, c.checkpoint_interval_s
FROM delivery d JOIN company c ON c.id = d.company_id
WHERE d.vehicle_id = ANY(%s::int[]) AND d.{one_of("status", sorted(UNDER_WAY))}
ORDER BY d.id
"""  # noqa: S608  # our constants
LOCK = READ + " FOR NO KEY UPDATE OF d"
LOCK_FEW = Named("lock_deliveries", LOCK)
# unnest returns rows in array order, and ORDER BY place makes the identity column follow it.
WRITE_CHECKPOINTS = """
INSERT INTO delivery_checkpoint (company_id, delivery_id, kind, status, vehicle_id, driver_id, latitude,
                                 longitude, speed_kmh, course_deg, accuracy_m, occurred_at, recorded_at,
                                 actor_user_id, actor_api_token_id, actor_driver_id, actor_device_id)
SELECT company_id, delivery_id, 'location', status, vehicle_id, driver_id, latitude, longitude, speed_kmh,
       course_deg, accuracy_m, occurred_at, recorded_at, user_id, api_token_id, reporter_id, device_id
FROM unnest(%s::int[], %s::int[], %s::text[], %s::int[], %s::int[], %s::float8[], %s::float8[], %s::float8[],
            %s::float8[], %s::float8[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::int[],
            %s::int[], %s::text[])
     WITH ORDINALITY AS n(company_id, delivery_id, status, vehicle_id, driver_id, latitude, longitude,
                          speed_kmh, course_deg, accuracy_m, occurred_at, recorded_at, user_id, api_token_id,
                          reporter_id, device_id, place)
ORDER BY place
"""
WRITE_STATES = """
UPDATE delivery d SET checkpoint_time = n.time, checkpoint_latitude = n.latitude,
       checkpoint_longitude = n.longitude
FROM unnest(%s::int[], %s::timestamptz[], %s::float8[], %s::float8[]) AS n(id, time, latitude, longitude)
WHERE d.id = n.id
"""
WRITE_FEW_CHECKPOINTS = Named("write_checkpoints", WRITE_CHECKPOINTS)
WRITE_FEW_STATES = Named("write_checkpoint_states", WRITE_STATES)
FEW = 4


class UnderWay(msgspec.Struct, frozen=True):
    """A delivery under way; ``since`` is when its present vehicle began to serve it."""

    delivery_id: int
    company_id: int
    vehicle_id: int
    customer_id: int
    driver_id: int | None
    status: str
    since: datetime
    last: LastCheckpoint | None
    policy: CheckpointPolicy


def under_way(cursor: Any, vehicle_ids: Iterable[int]) -> list[UnderWay]:
    """Return the deliveries under way on these vehicles, in id order."""
    cursor.execute(READ, (list(vehicle_ids),))
    return [_under_way(row) for row in cursor.fetchall()]


def lock_under_way(
    cursor: Any, vehicle_ids: Iterable[int], *, are_few: bool, after: str = ""
) -> list[UnderWay]:
    """Lock and return the deliveries under way on these vehicles, in id order.

    ``after`` is SQL without placeholders; it is sent in the same message and runs before the lock.
    """
    values = (list(vehicle_ids),)
    lock = LOCK_FEW.call(cursor, values) if are_few else cursor.mogrify(LOCK, values).decode()
    cursor.execute(after + lock)
    return [_under_way(row) for row in cursor.fetchall()]


def _under_way(row: Sequence[Any]) -> UnderWay:
    *delivery, time, latitude, longitude, distance_m, interval_s = row
    last = None if time is None else LastCheckpoint(time, latitude, longitude)
    policy = CheckpointPolicy(distance_m, interval_s)
    return UnderWay(*delivery, last, policy)  # type: ignore[call-arg]


def write_location_checkpoints(
    cursor: Any,
    deliveries: Sequence[UnderWay],
    fixes: Mapping[int, Sequence[Fix]],
    sent: Mapping[FixKey, VehicleFix],
    now: datetime,
    actor: Actor | None = None,
) -> None:
    """Write the location checkpoints that the policy selects from each vehicle's fresh fixes.

    ``fixes`` are in ``fix_time`` order. Each checkpoint records ``actor`` if one is given, otherwise the
    device in ``sent``.
    """
    rows, states = [], []
    for delivery in deliveries:
        chosen = location_checkpoints(
            delivery.policy, delivery.since, delivery.last, fixes.get(delivery.vehicle_id, ())
        )
        rows += [
            _row(delivery, fix, now) + _reporter(delivery.vehicle_id, fix, sent, actor) for fix in chosen
        ]
        if chosen:
            states.append(_state(delivery, chosen[-1]))
    if rows:
        # Both statements go in one message: two round trips would take longer than the writes themselves.
        cursor.execute(";".join(_writes(cursor, _columns(rows, 16), _columns(states, 4))))


def _writes(cursor: Any, rows: list[list[object]], states: list[list[object]]) -> tuple[str, str]:
    if len(rows[0]) <= FEW:
        return WRITE_FEW_CHECKPOINTS.call(cursor, rows), WRITE_FEW_STATES.call(cursor, states)
    return cursor.mogrify(WRITE_CHECKPOINTS, rows).decode(), cursor.mogrify(WRITE_STATES, states).decode()


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[i] for row in rows] for i in range(width)]


def _row(delivery: UnderWay, fix: Fix, now: datetime) -> tuple[object, ...]:
    return (
        delivery.company_id,
        delivery.delivery_id,
        delivery.status,
        delivery.vehicle_id,
        delivery.driver_id,
        fix.latitude,
        fix.longitude,
        fix.speed_kmh,
        fix.course_deg,
        fix.accuracy_m,
        fix.fix_time,
        now,
    )


def _reporter(
    vehicle_id: int, fix: Fix, sent: Mapping[FixKey, VehicleFix], actor: Actor | None
) -> tuple[object, ...]:
    """Return the ids of the user, API token, driver and device, in that order."""
    if actor is None:
        return None, None, None, sent[vehicle_id, fix.fix_time, fix.latitude, fix.longitude].device_id
    return actor.user_id, actor.api_token_id, actor.driver_id, None


def _state(delivery: UnderWay, fix: Fix) -> tuple[object, ...]:
    return delivery.delivery_id, fix.fix_time, fix.latitude, fix.longitude
