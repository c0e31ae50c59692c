"""Location reports over REST, by a driver or a manager."""

from datetime import datetime

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.access.actors import Actor, visible_deliveries
from core.access.prepared_for_actor import PreparedForActor
from core.access.scoping import MAXIMUM_ID
from core.errors import Conflict, Forbidden, InvalidValue, NotFound
from core.models.delivery import Delivery
from core.positions.store import store
from core.positions.vehicle_position import eta_after
from core.rules.enums import Role, Status
from core.rules.facts import PositionFact
from core.rules.fix import Fix, VehicleFix, first_problem
from core.rules.lifecycle import UNDER_WAY


class Reported(msgspec.Struct, frozen=True):
    """A stored location report. The caller commits, then publishes ``facts``; a repeat is not fresh."""

    is_fresh: bool
    facts: list[PositionFact]
    eta: datetime | None


class LocationTarget(msgspec.Struct, frozen=True):
    """The columns of the delivery for which a location is reported."""

    vehicle_id: int | None
    status: Status
    dropoff_latitude: float | None
    dropoff_longitude: float | None


TARGET = PreparedForActor(
    "location_target",
    lambda actor: select(
        Delivery.vehicle_id, Delivery.status, Delivery.dropoff_latitude, Delivery.dropoff_longitude
    ).where(Delivery.id == bindparam("delivery_id"), visible_deliveries(actor)),
)


def report(session: Session, actor: Actor, delivery_id: int, fix: Fix, now: datetime) -> Reported:
    """Store a fix for the delivery's vehicle in the same way as a fix sent by a device.

    Raises `NotFound`, `Forbidden`, `InvalidValue`, or `Conflict` if the delivery has no vehicle or is not
    under way.
    """
    target = _target(session, actor, delivery_id)
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager reports its location.")
    if problem := first_problem(fix, now):
        raise InvalidValue(*problem)
    if target.vehicle_id is None:
        raise Conflict("The delivery has no vehicle.", current=target.status.value)
    if target.status not in UNDER_WAY:
        raise Conflict(f"A delivery that is {target.status} is not under way.", current=target.status.value)
    stored = store(session, [VehicleFix(target.vehicle_id, fix)], now, actor)
    dropoff = target.dropoff_latitude, target.dropoff_longitude
    eta = eta_after(session, stored.facts, target.vehicle_id, *dropoff)
    return Reported(stored.fresh[0], stored.facts, eta)


def _target(session: Session, actor: Actor, delivery_id: int) -> LocationTarget:
    rows = TARGET.run(session, actor, delivery_id=delivery_id) if 0 < delivery_id <= MAXIMUM_ID else []
    if not rows:
        raise NotFound("delivery")
    vehicle_id, status, latitude, longitude = rows[0]
    return LocationTarget(vehicle_id, Status(status), latitude, longitude)
