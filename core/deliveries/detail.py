"""One delivery as a watcher sees it, read in one query: the delivery, its load and its vehicle's position."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from core.access.actors import Actor, visible_deliveries
from core.access.prepared_for_actor import PreparedForActor
from core.access.scoping import MAXIMUM_ID
from core.deliveries.load_orders import LoadOrderTotals
from core.deliveries.whereabouts import Whereabouts, whereabouts_of
from core.errors import NotFound
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.load_order import LoadItem, LoadOrder
from core.positions.vehicle_position import VEHICLE_COLUMNS, VehicleView
from core.rules.enums import Status


class LoadItemView(msgspec.Struct, frozen=True):
    id: int
    description: str
    quantity: int
    weight_kg: float | None
    volume_m3: float | None


class LoadView(msgspec.Struct, frozen=True):
    id: int
    reference: str
    created_at: datetime
    items: list[LoadItemView]


class DeliveryRow(msgspec.Struct, frozen=True):
    """The columns of `Delivery` that the API shows."""

    id: int
    reference: str
    status: Status
    version: int
    customer_id: int
    driver_id: int | None
    vehicle_id: int | None
    load_order_id: int | None
    pickup_address: str
    pickup_latitude: float | None
    pickup_longitude: float | None
    dropoff_address: str
    dropoff_latitude: float | None
    dropoff_longitude: float | None
    window_start: datetime | None
    window_end: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    scheduled_at: datetime
    vehicle_since: datetime | None


class DeliveryView(DeliveryRow, frozen=True):
    load_order: LoadView | None


class ListedDelivery(DeliveryRow, frozen=True):
    load_totals: LoadOrderTotals | None


OWN: list[Any] = [getattr(Delivery, name) for name in DeliveryRow.__struct_fields__]
ITEM = [getattr(LoadItem, name) for name in LoadItemView.__struct_fields__]


ITEMS = (
    select(func.json_agg(func.json_build_array(*ITEM).op("ORDER BY")(LoadItem.id)))
    .where(LoadItem.load_order_id == LoadOrder.id)
    .scalar_subquery()
)
LOAD = (LoadOrder.id, LoadOrder.reference, LoadOrder.created_at, ITEMS)


def _select(actor: Actor) -> Select[*tuple[Any, ...]]:
    return (
        select(*OWN, *VEHICLE_COLUMNS, *LOAD)
        .outerjoin(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .outerjoin(LoadOrder, LoadOrder.id == Delivery.load_order_id)
        .where(Delivery.id == bindparam("delivery_id"), visible_deliveries(actor))
    )


DETAIL = PreparedForActor("delivery_detail", _select)


def find(session: Session, actor: Actor, delivery_id: int) -> tuple[DeliveryView, Whereabouts]:
    """Return the delivery and its whereabouts. Raises `NotFound` if missing or hidden from the actor."""
    rows = DETAIL.run(session, actor, delivery_id=delivery_id) if 0 < delivery_id <= MAXIMUM_ID else []
    if not rows:
        raise NotFound("delivery")
    own, (*van, load_id, reference, loaded_at, items) = rows[0][: len(OWN)], rows[0][len(OWN) :]
    load = None if load_id is None else load_view(load_id, reference, loaded_at, items)
    delivery = DeliveryView(**row_values(own), load_order=load)
    return delivery, whereabouts_of(delivery, VehicleView(*van))


def row_values(own: Sequence[Any]) -> dict[str, Any]:
    """Return the fields of a `DeliveryRow` from the values of the columns `OWN`."""
    values = dict(zip(DeliveryRow.__struct_fields__, own, strict=True))
    values["status"] = Status(values["status"])
    return values


def load_view(load_id: int, reference: str, created_at: datetime, items: list[list[Any]] | None) -> LoadView:
    return LoadView(load_id, reference, created_at, [LoadItemView(*item) for item in items or ()])
