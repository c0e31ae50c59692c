"""One delivery as a watcher sees it, in one query: itself, its load, and where its van is."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ARRAY, Integer, Select, any_, bindparam, func, select
from sqlalchemy.orm import Session

from core.actors import Actor, visible_deliveries
from core.errors import NotFound
from core.models import Delivery, LoadItem, LoadOrder, Status, Vehicle
from core.prepared import Prepared, PreparedForActor
from core.scoping import MAXIMUM_ID
from core.tracking import Whereabouts, whereabouts_of


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


class DeliveryView(msgspec.Struct, frozen=True):
    """The columns of `Delivery` that people see, and its load."""

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
    load_order: LoadView | None


class VehicleView(msgspec.Struct, frozen=True):
    """The newest position of the delivery's van; all None when it has none."""

    position_time: datetime | None
    position_latitude: float | None
    position_longitude: float | None
    position_speed_kmh: float | None
    position_course_deg: float | None
    position_accuracy_m: float | None
    smoothed_speed_kmh: float | None


OWN: list[Any] = [getattr(Delivery, name) for name in DeliveryView.__struct_fields__ if name != "load_order"]
VAN = [getattr(Vehicle, name) for name in VehicleView.__struct_fields__]
ITEM = [getattr(LoadItem, name) for name in LoadItemView.__struct_fields__]


ITEMS = (
    select(func.json_agg(func.json_build_array(*ITEM).op("ORDER BY")(LoadItem.id)))
    .where(LoadItem.load_order_id == LoadOrder.id)
    .scalar_subquery()
)
LOAD = (LoadOrder.id, LoadOrder.reference, LoadOrder.created_at, ITEMS)
LOADS = Prepared("loads", select(*LOAD).where(LoadOrder.id == any_(bindparam("ids", type_=ARRAY(Integer)))))


def _select(actor: Actor) -> Select[*tuple[Any, ...]]:
    return (
        select(*OWN, *VAN, *LOAD)
        .outerjoin(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .outerjoin(LoadOrder, LoadOrder.id == Delivery.load_order_id)
        .where(Delivery.id == bindparam("delivery_id"), visible_deliveries(actor))
    )


DETAIL = PreparedForActor("delivery_detail", _select)


def find(session: Session, actor: Actor, delivery_id: int) -> tuple[DeliveryView, Whereabouts]:
    """Raises `NotFound` when it is missing or not this actor's to see."""
    rows = DETAIL.run(session, actor, delivery_id=delivery_id) if 0 < delivery_id <= MAXIMUM_ID else []
    if not rows:
        raise NotFound("delivery")
    own, (*van, load_id, reference, loaded_at, items) = rows[0][: len(OWN)], rows[0][len(OWN) :]
    load = None if load_id is None else load_view(load_id, reference, loaded_at, items)
    delivery = delivery_view(own, load)
    return delivery, whereabouts_of(delivery, VehicleView(*van))


def delivery_view(own: Sequence[Any], load: LoadView | None) -> DeliveryView:
    """``own``: the values of `OWN`."""
    values = dict(zip(DeliveryView.__struct_fields__, (*own, load), strict=True))
    values["status"] = Status(values["status"])
    return DeliveryView(**values)


def load_view(load_id: int, reference: str, created_at: datetime, items: list[list[Any]] | None) -> LoadView:
    return LoadView(load_id, reference, created_at, [LoadItemView(*item) for item in items or ()])


def loads(session: Session, load_ids: Iterable[int]) -> dict[int, LoadView]:
    """The loads with these ids, which the caller has read from deliveries that may be seen."""
    rows = LOADS.run(session, ids=list(load_ids))
    return {row[0]: load_view(*row) for row in rows}
