"""A vehicle's newest position and the ETA computed from it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from sqlalchemy.orm import Session

from core.models.fleet import Vehicle
from core.rules.eta import eta
from core.rules.facts import PositionFact


class VehiclePosition(msgspec.Struct, frozen=True):
    """A vehicle's newest position. Units: degrees, km/h, metres."""

    fix_time: datetime
    latitude: float
    longitude: float
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None


class VehicleState(Protocol):
    """The columns of `Vehicle` that this module reads, which a view of a vehicle may provide as well."""

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


class VehicleView(msgspec.Struct, frozen=True):
    """A `VehicleState` as read with `VEHICLE_COLUMNS`; all None when the vehicle has no position."""

    position_time: datetime | None
    position_latitude: float | None
    position_longitude: float | None
    position_speed_kmh: float | None
    position_course_deg: float | None
    position_accuracy_m: float | None
    smoothed_speed_kmh: float | None


VEHICLE_COLUMNS = [getattr(Vehicle, name) for name in VehicleView.__struct_fields__]

Dropoff = tuple[float, float] | None


def position_of(vehicle: VehicleState) -> VehiclePosition | None:
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


def eta_of(vehicle: VehicleState, dropoff: Dropoff) -> datetime | None:
    position = position_of(vehicle)
    if position is None:
        return None
    return eta(position.fix_time, position.latitude, position.longitude, vehicle.smoothed_speed_kmh, dropoff)


def eta_after(
    session: Session,
    facts: Sequence[PositionFact],
    vehicle_id: int,
    dropoff_latitude: float | None,
    dropoff_longitude: float | None,
) -> datetime | None:
    """Return the ETA at the drop-off after a fix of the vehicle was stored, with its facts, or None."""
    dropoff = dropoff_of(dropoff_latitude, dropoff_longitude)
    # The new fact holds the newest position, so no query is needed. An older fix produces no fact and leaves
    # the vehicle's stored position as it was.
    if facts:
        fact = facts[0]
        return eta(fact.fix_time, fact.latitude, fact.longitude, fact.smoothed_speed_kmh, dropoff)
    vehicle = session.get(Vehicle, vehicle_id)
    return eta_of(vehicle, dropoff) if vehicle else None


def dropoff_of(latitude: float | None, longitude: float | None) -> Dropoff:
    """Return the drop-off in degrees, in the form `eta` takes, or None if it has no coordinates."""
    return None if latitude is None or longitude is None else (latitude, longitude)
