"""Load orders: the goods that a delivery carries. The caller commits."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ARRAY, Integer, any_, bindparam, func, select
from sqlalchemy.orm import Session, selectinload

from core.access import scoping
from core.access.actors import Actor
from core.database.prepared import Prepared
from core.errors import Conflict
from core.models.delivery import Delivery
from core.models.load_order import LoadItem, LoadOrder
from core.records import audit
from core.rules.lifecycle import FINAL


class NewLoadItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a load; weight and volume are those of the whole line."""

    description: str
    quantity: int = 1
    weight_kg: float | None = None
    volume_m3: float | None = None


class NewLoadOrder(msgspec.Struct, frozen=True, kw_only=True):
    reference: str
    items: Sequence[NewLoadItem]


class LoadOrderChanges(msgspec.Struct, frozen=True, kw_only=True):
    """``items`` replace the whole list."""

    reference: str | UnsetType = UNSET
    items: Sequence[NewLoadItem] | UnsetType = UNSET


class LoadOrderTotals(msgspec.Struct, frozen=True):
    """A load order without its items. A total is None when no item has a weight, or a volume."""

    id: int
    reference: str
    created_at: datetime
    item_count: int
    weight_kg: float | None
    volume_m3: float | None


TOTALS = Prepared(
    "load_totals",
    select(
        LoadOrder.id,
        LoadOrder.reference,
        LoadOrder.created_at,
        func.count(LoadItem.id),
        func.sum(LoadItem.weight_kg),
        func.sum(LoadItem.volume_m3),
    )
    .outerjoin(LoadItem, LoadItem.load_order_id == LoadOrder.id)
    .where(LoadOrder.id == any_(bindparam("ids", type_=ARRAY(Integer))))
    .group_by(LoadOrder.id),
)


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> list[LoadOrderTotals]:
    orders = scoping.page(session, actor, LoadOrder, after=after, limit=limit)
    known = totals(session, [order.id for order in orders])
    return [known[order.id] for order in orders]


def totals(session: Session, order_ids: Collection[int]) -> dict[int, LoadOrderTotals]:
    """Return the totals by load order. The caller has checked that the actor may see these orders."""
    rows = TOTALS.run(session, ids=list(order_ids)) if order_ids else []
    return {
        order_id: LoadOrderTotals(order_id, reference, at, items, _rounded(weight_kg), _rounded(volume_m3))
        for order_id, reference, at, items, weight_kg, volume_m3 in rows
    }


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of the known values, or None when none is known."""
    known = [value for value in values if value is not None]
    return _rounded(sum(known)) if known else None


def _rounded(sum_of_floats: float | None) -> float | None:
    """Round to the milligram and the millilitre, so that 0.1 + 0.2 is 0.3."""
    return None if sum_of_floats is None else round(sum_of_floats, 6)


def _with_items(session: Session, orders: Sequence[LoadOrder]) -> None:
    """Load the items of all orders with one query; the identity map attaches them."""
    ids = [order.id for order in orders]
    session.scalars(
        select(LoadOrder)
        .where(LoadOrder.id.in_(ids))
        .options(selectinload(LoadOrder.items))
        .execution_options(populate_existing=True)
    ).all()


def find(session: Session, actor: Actor, order_id: int) -> LoadOrder:
    order = scoping.find(session, actor, LoadOrder, order_id)
    _with_items(session, [order])
    return order


def add(session: Session, actor: Actor, new: NewLoadOrder) -> LoadOrder:
    scoping.require_manager(actor)
    order = LoadOrder(company_id=actor.company_id, reference=new.reference, items=_items(actor, new.items))
    session.add(order)
    session.flush()
    audit.added(session, actor, order)
    return order


def edit(session: Session, actor: Actor, order_id: int, changes: LoadOrderChanges) -> LoadOrder:
    """Set the reference, the whole list of items, or both."""
    order = scoping.lock(session, actor, LoadOrder, order_id)
    _refuse_ended(session, order_id)
    _with_items(session, [order])
    if changes.reference is not UNSET:
        audit.change(session, actor, order, {"reference": changes.reference})
    if changes.items is not UNSET:
        order.items = _items(actor, changes.items)
        audit.note(session, actor, "items_replaced", order)
    session.flush()
    return order


def _refuse_ended(session: Session, order_id: int) -> None:
    """Refuse to change the load of a delivery that has ended, since it is part of that delivery's history."""
    ended = session.scalars(
        select(Delivery.id)
        .where(Delivery.load_order_id == order_id, Delivery.status.in_(FINAL))
        .order_by(Delivery.id)
        .limit(10)
    ).all()
    if ended:
        raise Conflict("Deliveries that have ended carry this load order.", deliveries=list(ended))


def delete(session: Session, actor: Actor, order_id: int) -> None:
    """Delete a load order. Raises `Conflict` once a delivery carries it: it is part of its history."""
    order = scoping.find(session, actor, LoadOrder, order_id)
    scoping.require_manager(actor)
    # A plain FOR UPDATE conflicts with the foreign key's KEY SHARE lock, so a delivery that is just being
    # created with this load order waits, or this delete waits for it.
    session.refresh(order, attribute_names=["id"], with_for_update=True)
    carried_by = session.scalars(
        select(Delivery.id).where(Delivery.load_order_id == order_id).order_by(Delivery.id).limit(10)
    ).all()
    if carried_by:
        raise Conflict("Deliveries carry this load order.", deliveries=list(carried_by))
    audit.note(session, actor, "deleted", order)
    session.delete(order)
    session.flush()


def _items(actor: Actor, items: Sequence[NewLoadItem]) -> list[LoadItem]:
    return [LoadItem(company_id=actor.company_id, **msgspec.structs.asdict(item)) for item in items]
