"""Deliveries as clients send and see them."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from api.schemas.fields import Input, Instant, Line, Output, RowId
from api.schemas.loads import Items, LoadOrderOut, LoadTotalsOut, new_items
from api.schemas.places import Place, PlaceOut, flat
from core.deliveries.commands import DeliveryChanges, NewDelivery
from core.deliveries.detail import DeliveryRow, DeliveryView, ListedDelivery
from core.deliveries.load_orders import NewLoadOrder
from core.deliveries.whereabouts import NOWHERE, Whereabouts
from core.models.delivery import Delivery
from core.rules.enums import Status

_EXAMPLE: dict[str, JsonValue] = {
    "reference": "ORDER-1001",
    "customer_id": 1,
    "driver_id": 1,
    "vehicle_id": 1,
    "pickup": {"address": "Alexanderplatz 1, Berlin", "latitude": 52.52, "longitude": 13.405},
    "dropoff": {"address": "Am Alten Markt 1, Potsdam", "latitude": 52.3906, "longitude": 13.0645},
    "window_start": "2026-03-01T12:00:00Z",
    "window_end": "2026-03-01T14:00:00Z",
}


class DeliveryEdit(Input):
    """All editable fields of a delivery; omitted fields become null."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    reference: Line
    customer_id: RowId
    driver_id: RowId | None = None
    vehicle_id: RowId | None = None
    load_order_id: RowId | None = None
    pickup: Place
    dropoff: Place
    window_start: Instant | None = None
    window_end: Instant | None = None

    def replacement(self) -> DeliveryChanges:
        """Return an edit that sets every field."""
        return DeliveryChanges(**flat(self.model_dump()))


class DeliveryNew(DeliveryEdit):
    """A new delivery. Its load is an existing order's id, or ``items``, from which an order is made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE | {"items": [{"description": "Crate of apples", "quantity": 2}]}]
        }
    )

    items: Items | None = None

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if self.items is not None and self.load_order_id is not None:
            raise ValueError("give load_order_id or items, not both")
        return self

    def new(self, load_order_id: int | None) -> NewDelivery:
        return NewDelivery(**flat(self.model_dump(exclude={"items"})) | {"load_order_id": load_order_id})

    def new_load(self) -> NewLoadOrder | None:
        """Return the load order of the inline items, which gets the delivery's reference."""
        if self.items is None:
            return None
        return NewLoadOrder(reference=self.reference, items=new_items(self.items))


class DeliveryPatch(Input):
    """Only the fields that are sent change. Defaults are never read: use ``changes()``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"driver_id": 2, "vehicle_id": 3}]})

    reference: Line = Field(default_factory=str)
    customer_id: RowId = Field(default_factory=int)
    driver_id: RowId | None = None
    vehicle_id: RowId | None = None
    load_order_id: RowId | None = None
    pickup: Place = Field(default_factory=lambda: Place(address="-"))
    dropoff: Place = Field(default_factory=lambda: Place(address="-"))
    window_start: Instant | None = None
    window_end: Instant | None = None

    def changes(self) -> DeliveryChanges:
        return DeliveryChanges(**flat(self.sent()))


class DeliveryOut(Output):
    id: int
    reference: str
    status: Status
    version: Annotated[int, Field(description="grows with every edit, assignment and status change")]
    customer_id: int
    driver_id: int | None
    vehicle_id: int | None
    load_order_id: int | None
    load: LoadTotalsOut | None
    pickup: PlaceOut
    dropoff: PlaceOut
    window_start: datetime | None
    window_end: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def listed(cls, delivery: ListedDelivery) -> Self:
        load = LoadTotalsOut.model_validate(delivery.load_totals) if delivery.load_totals else None
        return cls(**_fields(delivery), load=load)


class DeliveryWithLoad(DeliveryOut):
    """A delivery with every item of its load."""

    load: LoadOrderOut | None

    @classmethod
    def of(cls, delivery: Delivery | DeliveryView) -> Self:
        """Build from a delivery whose load was loaded with it."""
        return cls(**_fields(delivery), load=_load(delivery))


class PositionOut(Output):
    """A position: degrees WGS 84, km/h, metres; ``fix_time`` by the device's clock."""

    fix_time: datetime
    latitude: float
    longitude: float
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None


class DeliveryDetail(DeliveryWithLoad):
    """A delivery with its vehicle's position.

    ``position`` and ``eta`` are null unless the delivery is under way and its vehicle has reported since.
    """

    position: PositionOut | None
    eta: datetime | None

    @classmethod
    def seen(cls, delivery: Delivery | DeliveryView, whereabouts: Whereabouts = NOWHERE) -> Self:
        position = PositionOut.model_validate(whereabouts.position) if whereabouts.position else None
        return cls(**_fields(delivery), load=_load(delivery), position=position, eta=whereabouts.eta)


def _load(delivery: Delivery | DeliveryView) -> LoadOrderOut | None:
    return LoadOrderOut.of(delivery.load_order) if delivery.load_order else None


def _fields(delivery: Delivery | DeliveryRow) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "reference": delivery.reference,
        "status": delivery.status,
        "version": delivery.version,
        "customer_id": delivery.customer_id,
        "driver_id": delivery.driver_id,
        "vehicle_id": delivery.vehicle_id,
        "load_order_id": delivery.load_order_id,
        "pickup": PlaceOut(
            address=delivery.pickup_address,
            latitude=delivery.pickup_latitude,
            longitude=delivery.pickup_longitude,
        ),
        "dropoff": PlaceOut(
            address=delivery.dropoff_address,
            latitude=delivery.dropoff_latitude,
            longitude=delivery.dropoff_longitude,
        ),
        "window_start": delivery.window_start,
        "window_end": delivery.window_end,
        "created_at": delivery.created_at,
        "started_at": delivery.started_at,
        "ended_at": delivery.ended_at,
    }
