"""Where a delivery is: a driver's report over REST, and what its people may see of the van."""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from sqlalchemy.orm import Session

from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.positions.vehicle_position import VehiclePosition, VehicleState, dropoff_of, eta_of, position_of
from core.rules.enums import Status
from core.rules.lifecycle import UNDER_WAY, served_since


class Whereabouts(msgspec.Struct, frozen=True):
    """What a watcher of a delivery sees. Both are None unless it is under way and its van was heard since."""

    position: VehiclePosition | None = None
    eta: datetime | None = None


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


FRESH = timedelta(minutes=5)  # an ETA from an older position is a guess
NOWHERE = Whereabouts()


def whereabouts(session: Session, delivery: Delivery) -> Whereabouts:
    """Only while under way, and only what was heard since it started: earlier stops are other people's."""
    if delivery.vehicle_id is None:
        return NOWHERE
    return whereabouts_of(delivery, session.get_one(Vehicle, delivery.vehicle_id, populate_existing=True))


def whereabouts_of(delivery: Tracked, vehicle: VehicleState) -> Whereabouts:
    """`whereabouts`, of values that have been read already."""
    position = position_of(vehicle)
    if position is None or delivery.started_at is None or delivery.status not in UNDER_WAY:
        return NOWHERE
    if position.fix_time < served_since(delivery.started_at, delivery.vehicle_since):
        return NOWHERE
    return Whereabouts(
        position, eta_of(vehicle, dropoff_of(delivery.dropoff_latitude, delivery.dropoff_longitude))
    )


def expected_arrival(session: Session, delivery: Delivery, now: datetime) -> datetime | None:
    """The ETA at the drop-off, which the van heads for in transit, from a fresh position; never past."""
    if delivery.status is not Status.IN_TRANSIT:
        return None
    seen = whereabouts(session, delivery)
    if seen.position is None or seen.eta is None or seen.position.fix_time < now - FRESH:
        return None
    return max(seen.eta, now.replace(microsecond=0))
