"""The checkpoint policy applied to the deliveries under way on a batch's vehicles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ARRAY, Integer, any_, insert, literal, select, update
from sqlalchemy.orm import Session

from core.actors import Actor
from core.checkpoint_policy import CheckpointPolicy, LastCheckpoint, location_checkpoints
from core.fixes import Fix
from core.lifecycle import UNDER_WAY, served_since
from core.models import CheckpointKind, Company, Delivery, DeliveryCheckpoint, Status


class UnderWay(msgspec.Struct, frozen=True):
    """A delivery under way; ``since`` its vehicle serves it."""

    delivery_id: int
    company_id: int
    vehicle_id: int
    customer_id: int
    driver_id: int | None
    status: Status
    since: datetime
    last: LastCheckpoint | None
    policy: CheckpointPolicy


def under_way(session: Session, vehicle_ids: Iterable[int], *, lock: bool = False) -> list[UnderWay]:
    """The deliveries under way on these vehicles, in id order, which is the order of the locks."""
    query = (
        select(
            Delivery.id,
            Delivery.company_id,
            Delivery.vehicle_id,
            Delivery.customer_id,
            Delivery.driver_id,
            Delivery.status,
            Delivery.started_at,
            Delivery.vehicle_since,
            Delivery.checkpoint_time,
            Delivery.checkpoint_latitude,
            Delivery.checkpoint_longitude,
            Company.checkpoint_distance_m,
            Company.checkpoint_interval_s,
        )
        .join(Company, Company.id == Delivery.company_id)
        .where(
            Delivery.vehicle_id == any_(literal(list(vehicle_ids), ARRAY(Integer))),
            Delivery.status.in_(UNDER_WAY),
        )
        .order_by(Delivery.id)
    )
    if lock:
        query = query.with_for_update(key_share=True, of=Delivery)
    return [_under_way(row) for row in session.execute(query)]


def _under_way(row: Any) -> UnderWay:
    last = None
    if row.checkpoint_time is not None:
        last = LastCheckpoint(row.checkpoint_time, row.checkpoint_latitude, row.checkpoint_longitude)
    since = served_since(row.started_at, row.vehicle_since)
    policy = CheckpointPolicy(row.checkpoint_distance_m, row.checkpoint_interval_s)
    return UnderWay(
        delivery_id=row.id,
        company_id=row.company_id,
        vehicle_id=row.vehicle_id,
        customer_id=row.customer_id,
        driver_id=row.driver_id,
        status=row.status,
        since=since,
        last=last,
        policy=policy,
    )


def write_location_checkpoints(
    session: Session,
    deliveries: Sequence[UnderWay],
    fixes: Mapping[int, list[Fix]],
    device_of: Callable[[int, Fix], str | None],
    now: datetime,
    actor: Actor | None = None,
) -> None:
    """Write what the policy chooses from each vehicle's fresh fixes, given in ``fix_time`` order.

    Each names the device its fix came from (``device_of`` a vehicle and a fix), or the person.
    """
    rows, states = [], []
    for delivery in deliveries:
        chosen = location_checkpoints(
            delivery.policy, delivery.since, None, delivery.last, fixes.get(delivery.vehicle_id, ())
        )
        rows += [
            _row(delivery, fix, now) | _reporter(device_of(delivery.vehicle_id, fix), actor) for fix in chosen
        ]
        if chosen:
            states.append(_state(delivery, chosen[-1]))
    if rows:
        session.execute(insert(DeliveryCheckpoint), rows)
        session.execute(update(Delivery), states)


def _row(delivery: UnderWay, fix: Fix, now: datetime) -> dict[str, object]:
    return {
        "company_id": delivery.company_id,
        "delivery_id": delivery.delivery_id,
        "kind": CheckpointKind.LOCATION,
        "status": delivery.status,
        "vehicle_id": delivery.vehicle_id,
        "driver_id": delivery.driver_id,
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "speed_kmh": fix.speed_kmh,
        "course_deg": fix.course_deg,
        "accuracy_m": fix.accuracy_m,
        "occurred_at": fix.fix_time,
        "recorded_at": now,
    }


def _reporter(device_id: str | None, actor: Actor | None) -> dict[str, object]:
    return {
        "actor_user_id": actor.user_id if actor else None,
        "actor_api_token_id": actor.api_token_id if actor else None,
        "actor_driver_id": actor.driver_id if actor else None,
        "actor_device_id": device_id,
    }


def _state(delivery: UnderWay, fix: Fix) -> dict[str, object]:
    return {
        "id": delivery.delivery_id,
        "checkpoint_time": fix.fix_time,
        "checkpoint_latitude": fix.latitude,
        "checkpoint_longitude": fix.longitude,
    }
