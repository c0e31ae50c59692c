"""Find a delivery that the actor may see, and lock it."""

from collections.abc import Callable
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
    return _one(session, actor, delivery_id, lambda query: query.options(_with_load()))


def require_visible(session: Session, actor: Actor, delivery_id: int) -> None:
    """Check visibility without reading the load. Raises `NotFound` as `find` does."""
    _one(session, actor, delivery_id, lambda query: query)


def lock(session: Session, actor: Actor, delivery_id: int) -> Delivery:
    """Return the delivery, locked against every other writer. Raises `NotFound` as `find` does."""
    return _one(
        session,
        actor,
        delivery_id,
        lambda query: query.with_for_update(key_share=True).execution_options(populate_existing=True),
    )


def _with_load() -> Any:
    return selectinload(Delivery.load_order).selectinload(LoadOrder.items)


def _one(
    session: Session,
    actor: Actor,
    delivery_id: int,
    refine: Callable[[Select[Delivery]], Select[Delivery]],
) -> Delivery:
    delivery = None
    if 0 < delivery_id <= MAXIMUM_ID:
        query = select(Delivery).where(Delivery.id == delivery_id, visible_deliveries(actor))
        delivery = session.scalar(refine(query))
    if delivery is None:
        raise NotFound("delivery")
    return delivery
