"""Validation of the ids that a request refers to."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.access.scoping import MAXIMUM_ID, is_ours
from core.errors import InvalidValue
from core.models.fleet import Vehicle
from core.models.load_order import LoadOrder
from core.models.people import Customer, Driver


def require_reference(
    session: Session,
    actor: Actor,
    field: str,
    model: type[Customer | Driver | Vehicle | LoadOrder],
    row_id: int,
) -> None:
    """Check that the row exists in the actor's tenant and is not archived, and lock it.

    Until the transaction ends the row cannot be archived or deleted. Raises `InvalidValue` naming ``field``.
    """
    query = (
        select(model.id)
        .where(model.id == row_id, is_ours(actor, model))
        .with_for_update(read=True, key_share=True)
    )
    if model is not LoadOrder:
        query = query.where(model.archived_at.is_(None))  # type: ignore[union-attr]
    found = session.scalar(query) if 0 < row_id <= MAXIMUM_ID else None
    if found is None:
        raise InvalidValue(field, f"no such {model.__tablename__.replace('_', ' ')}, or it is archived")
