"""A crew's view of a delivery, read from the API's JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.rules.enums import Status
from core.rules.lifecycle import UNDER_WAY
from local.simulator import city

REACH_M = 3_000.0
Place = tuple[float, float]


@dataclass
class CourierJob:
    """``pickup`` and ``dropoff`` in degrees; None outside the simulated streets."""

    id: int
    reference: str
    status: Status
    customer_id: int
    driver_id: int | None
    vehicle_id: int | None
    pickup: Place | None
    dropoff: Place | None

    @property
    def is_under_way(self) -> bool:
        return self.status in UNDER_WAY

    @property
    def can_be_driven(self) -> bool:
        return self.pickup is not None and self.dropoff is not None


def job(delivery: Mapping[str, Any]) -> CourierJob:
    """Read one item of ``GET /deliveries/``. Raises `KeyError` or `ValueError` on another shape."""
    return CourierJob(
        id=delivery["id"],
        reference=delivery["reference"],
        status=Status(delivery["status"]),
        customer_id=delivery["customer_id"],
        driver_id=delivery["driver_id"],
        vehicle_id=delivery["vehicle_id"],
        pickup=_place(delivery["pickup"]),
        dropoff=_place(delivery["dropoff"]),
    )


def _place(place: Mapping[str, Any]) -> Place | None:
    latitude, longitude = place["latitude"], place["longitude"]
    if latitude is None or longitude is None or city.nearest_junction(latitude, longitude)[1] > REACH_M:
        return None
    return latitude, longitude
