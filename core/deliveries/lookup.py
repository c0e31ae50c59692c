"""Find a delivery that the actor may see, and lock it."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from core.access.actors import Actor, visible_deliveries
from core.access.scoping import MAXIMUM_ID
from core.errors import NotFound
from core.models.delivery import Delivery
from core.models.load_order import LoadOrder


def find(session: Session, actor: Actor, delivery_id: int) -> Delivery:
    """Return the delivery with its load. Raises `NotFound` when it is missing or the actor may not see it."""
    return _one(session, _visible(actor, delivery_id).options(_with_load()), delivery_id)


def require_visible(session: Session, actor: Actor, delivery_id: int) -> None:
    """Check visibility without reading the load. Raises `NotFound` as `find` does."""
    _one(session, _visible(actor, delivery_id), delivery_id)


def lock(session: Session, actor: Actor, delivery_id: int) -> Delivery:
    """Return the delivery, locked against every other writer. Raises `NotFound` as `find` does."""
    query = _visible(actor, delivery_id).with_for_update(key_share=True)
    return _one(session, query.execution_options(populate_existing=True), delivery_id)


def _visible(actor: Actor, delivery_id: int) -> Select[Delivery]:
    return select(Delivery).where(Delivery.id == delivery_id, visible_deliveries(actor))


def _with_load() -> Any:
    return selectinload(Delivery.load_order).selectinload(LoadOrder.items)


def _one(session: Session, query: Select[Delivery], delivery_id: int) -> Delivery:
    delivery = session.scalar(query) if 0 < delivery_id <= MAXIMUM_ID else None
    if delivery is None:
        raise NotFound("delivery")
    return delivery
