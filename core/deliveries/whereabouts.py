"""Where a delivery is: its vehicle's position and ETA, as far as a watcher may see them."""

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
    """A watcher's view. Both are None unless the delivery is under way and its vehicle has reported since."""

    position: VehiclePosition | None = None
    eta: datetime | None = None


class Tracked(Protocol):
    """The fields that this module reads from a delivery: `Delivery`, or a view of it."""

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
    """Return position and ETA while under way, from reports since the start: earlier stops are private."""
    if delivery.vehicle_id is None:
        return NOWHERE
    return whereabouts_of(delivery, session.get_one(Vehicle, delivery.vehicle_id, populate_existing=True))


def whereabouts_of(delivery: Tracked, vehicle: VehicleState) -> Whereabouts:
    """Return `whereabouts` for rows that have already been read: the rule for every reader of a position."""
    position = position_of(vehicle)
    if position is None or delivery.started_at is None or delivery.status not in UNDER_WAY:
        return NOWHERE
    if position.fix_time < served_since(delivery.started_at, delivery.vehicle_since):
        return NOWHERE
    return Whereabouts(
        position, eta_of(vehicle, dropoff_of(delivery.dropoff_latitude, delivery.dropoff_longitude))
    )


def expected_arrival(session: Session, delivery: Delivery, now: datetime) -> datetime | None:
    """Return the ETA at the drop-off from a fresh position in transit, else None; never in the past."""
    return _expected(delivery.status, whereabouts(session, delivery), now)


def expected_arrival_of(delivery: Tracked, vehicle: VehicleState, now: datetime) -> datetime | None:
    """Return `expected_arrival` for rows that have already been read."""
    return _expected(delivery.status, whereabouts_of(delivery, vehicle), now)


def _expected(status: Status, seen: Whereabouts, now: datetime) -> datetime | None:
    if status is not Status.IN_TRANSIT or seen.position is None or seen.eta is None:
        return None
    return None if seen.position.fix_time < now - FRESH else max(seen.eta, now.replace(microsecond=0))
