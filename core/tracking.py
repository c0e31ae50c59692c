"""Where a delivery is: a driver's report over REST, and what its people may see of the van."""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.actors import Actor, visible_deliveries
from core.errors import Conflict, Forbidden, InvalidValue, NotFound
from core.eta import eta
from core.facts import PositionFact
from core.fixes import RANGES, Fix, position_problem, range_problem, time_problem
from core.lifecycle import UNDER_WAY, served_since
from core.models import Delivery, Role, Status, Vehicle
from core.positions import Sighting, store
from core.prepared import PreparedForActor
from core.scoping import MAXIMUM_ID


class VehiclePosition(msgspec.Struct, frozen=True):
    """The newest position of a van: degrees, km/h, metres."""

    fix_time: datetime
    latitude: float
    longitude: float
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None


class Whereabouts(msgspec.Struct, frozen=True):
    """What a watcher of a delivery sees. Both are None unless it is under way and its van was heard since."""

    position: VehiclePosition | None = None
    eta: datetime | None = None


class Reported(msgspec.Struct, frozen=True):
    """``facts`` are to be published once the caller has committed; ``is_fresh`` is False for a repetition."""

    is_fresh: bool
    facts: list[PositionFact]
    eta: datetime | None


class Tracked(Protocol):
    """What is asked of a delivery here: `Delivery`, or a view of it."""

    @property
    def status(self) -> Status: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def vehicle_since(self) -> datetime | None: ...
    @property
    def dropoff_latitude(self) -> float | None: ...
    @property
    def dropoff_longitude(self) -> float | None: ...


class Van(Protocol):
    """What is asked of a vehicle here: `Vehicle`, or a view of it."""

    @property
    def position_time(self) -> datetime | None: ...
    @property
    def position_latitude(self) -> float | None: ...
    @property
    def position_longitude(self) -> float | None: ...
    @property
    def position_speed_kmh(self) -> float | None: ...
    @property
    def position_course_deg(self) -> float | None: ...
    @property
    def position_accuracy_m(self) -> float | None: ...
    @property
    def smoothed_speed_kmh(self) -> float | None: ...


class Target(msgspec.Struct, frozen=True):
    """The delivery a location is reported for."""

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
FRESH = timedelta(minutes=5)  # an ETA from an older position is a guess
Dropoff = tuple[float, float] | None
NOWHERE = Whereabouts()


def report(session: Session, actor: Actor, delivery_id: int, fix: Fix, now: datetime) -> Reported:
    """Store a fix for the delivery's vehicle, as a device's would be.

    Raises `NotFound`, `Forbidden`, `InvalidValue`, and `Conflict` unless a vehicle is under way with it.
    """
    target = _target(session, actor, delivery_id)
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager reports its location.")
    _require_usable(fix, now)
    if target.vehicle_id is None:
        raise Conflict("The delivery has no vehicle.", current=target.status.value)
    if target.status not in UNDER_WAY:
        raise Conflict(f"A delivery that is {target.status} is not under way.", current=target.status.value)
    stored = store(session, [Sighting(target.vehicle_id, fix)], now, actor)
    return Reported(stored.fresh[0], stored.facts, _eta_after(session, target, stored.facts))


def _target(session: Session, actor: Actor, delivery_id: int) -> Target:
    rows = TARGET.run(session, actor, delivery_id=delivery_id) if 0 < delivery_id <= MAXIMUM_ID else []
    if not rows:
        raise NotFound("delivery")
    vehicle_id, status, latitude, longitude = rows[0]
    return Target(vehicle_id, Status(status), latitude, longitude)


def _require_usable(fix: Fix, now: datetime) -> None:
    if problem := position_problem(fix.latitude, fix.longitude):
        raise InvalidValue(problem.partition(" ")[0], problem)
    if problem := time_problem(fix.fix_time, now):
        raise InvalidValue("fix_time", problem)
    for name, low, high in RANGES:
        value = getattr(fix, name)
        if value is not None and (problem := range_problem(name, value, low, high)):
            raise InvalidValue(name, problem)


def _eta_after(session: Session, target: Target, facts: list[PositionFact]) -> datetime | None:
    """From the fact just made, without a query; an older fix changed nothing, so ask what stands."""
    dropoff = dropoff_of(target.dropoff_latitude, target.dropoff_longitude)
    if facts:
        fact = facts[0]
        return eta(fact.fix_time, fact.latitude, fact.longitude, fact.smoothed_speed_kmh, dropoff)
    vehicle = session.get(Vehicle, target.vehicle_id)
    return _eta(vehicle, dropoff) if vehicle else None


def whereabouts(session: Session, delivery: Delivery) -> Whereabouts:
    """Only while under way, and only what was heard since it started: earlier stops are other people's."""
    if delivery.vehicle_id is None:
        return NOWHERE
    return whereabouts_of(delivery, session.get_one(Vehicle, delivery.vehicle_id, populate_existing=True))


def whereabouts_of(delivery: Tracked, vehicle: Van) -> Whereabouts:
    """`whereabouts`, of values that have been read already."""
    position = _position(vehicle)
    if position is None or delivery.started_at is None or delivery.status not in UNDER_WAY:
        return NOWHERE
    if position.fix_time < served_since(delivery.started_at, delivery.vehicle_since):
        return NOWHERE
    return Whereabouts(
        position, _eta(vehicle, dropoff_of(delivery.dropoff_latitude, delivery.dropoff_longitude))
    )


def expected_arrival(session: Session, delivery: Delivery, now: datetime) -> datetime | None:
    """The ETA at the drop-off, which the van heads for in transit, from a fresh position; never past."""
    if delivery.status is not Status.IN_TRANSIT:
        return None
    seen = whereabouts(session, delivery)
    if seen.position is None or seen.eta is None or seen.position.fix_time < now - FRESH:
        return None
    return max(seen.eta, now.replace(microsecond=0))


def _position(vehicle: Van) -> VehiclePosition | None:
    if (
        vehicle.position_time is None
        or vehicle.position_latitude is None
        or vehicle.position_longitude is None
    ):
        return None
    return VehiclePosition(
        vehicle.position_time,
        vehicle.position_latitude,
        vehicle.position_longitude,
        vehicle.position_speed_kmh,
        vehicle.position_course_deg,
        vehicle.position_accuracy_m,
    )


def _eta(vehicle: Van, dropoff: Dropoff) -> datetime | None:
    position = _position(vehicle)
    if position is None:
        return None
    return eta(position.fix_time, position.latitude, position.longitude, vehicle.smoothed_speed_kmh, dropoff)


def dropoff_of(latitude: float | None, longitude: float | None) -> Dropoff:
    """Degrees, as `eta` takes them; None when the place is not known."""
    return None if latitude is None or longitude is None else (latitude, longitude)
