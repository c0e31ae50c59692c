"""Archiving. Rows that deliveries refer to are never deleted, nor archived while such a delivery is open."""

from datetime import datetime
from typing import TypeVar

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.errors import Conflict
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.people import Customer, Driver
from core.records import audit
from core.rules.changes import set_fields
from core.rules.lifecycle import FINAL

Archivable = TypeVar("Archivable", Customer, Driver, Vehicle)
_SHOWN = 10


def archive(
    session: Session, actor: Actor, model: type[Archivable], row_id: int, now: datetime
) -> tuple[Archivable, bool]:
    """Archive the row; return it and whether this changed it. Raises `Conflict` while a delivery is open."""
    row = lock_whole(session, actor, model, row_id)
    if row.archived_at is not None:
        return row, False
    require_no_open_delivery(session, row)
    row.archived_at = now
    audit.note(session, actor, "archived", row)
    return row, True


def restore(session: Session, actor: Actor, model: type[Archivable], row_id: int) -> Archivable:
    row = lock_whole(session, actor, model, row_id)
    if row.archived_at is not None:
        row.archived_at = None
        audit.note(session, actor, "restored", row)
    return row


def edit(
    session: Session, actor: Actor, model: type[Archivable], row_id: int, changes: msgspec.Struct
) -> Archivable:
    """Set columns, also of an archived row, whose name still appears in old deliveries."""
    row = scoping.lock(session, actor, model, row_id)
    audit.change(session, actor, row, set_fields(changes))
    return row


def lock_whole(session: Session, actor: Actor, model: type[Archivable], row_id: int) -> Archivable:
    """Return the row, locked by FOR UPDATE for a manager.

    A plain FOR UPDATE conflicts with the foreign key's KEY SHARE lock, so a delivery that is just being given
    this row waits, or this lock waits for it.
    """
    row = scoping.find(session, actor, model, row_id)
    scoping.require_manager(actor)
    session.refresh(row, with_for_update=True)
    return row


def require_no_open_delivery(session: Session, row: Customer | Driver | Vehicle) -> None:
    """Check that no open delivery refers to the row. Raises `Conflict` that names some of those that do."""
    column = getattr(Delivery, f"{row.__tablename__}_id")
    open_ids = session.scalars(
        select(Delivery.id)
        .where(Delivery.company_id == row.company_id, column == row.id, Delivery.status.not_in(FINAL))
        .order_by(Delivery.id)
        .limit(_SHOWN)
    ).all()
    if open_ids:
        raise Conflict(f"The {row.__tablename__} has open deliveries.", deliveries=list(open_ids))
