"""Tenant isolation of every table but `delivery`: people, vehicles, devices, load orders and records.

Managers and operators read the rows of their own tenant. For drivers and customers these rows do not exist,
and no actor sees those of another tenant.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.errors import Forbidden, NotFound
from core.models.account import ApiToken
from core.models.fleet import Device, Vehicle
from core.models.load_order import LoadOrder
from core.models.notification import Notification, NotificationSetting, NotificationTemplate, Webhook
from core.models.people import AppUser, Customer, Driver
from core.models.record import AuditEntry, Quarantine, QuarantineCount
from core.models.report import DailyReport

MAXIMUM_ID = 2**31 - 1
AnyOwned = Customer | Driver | Vehicle | Device | LoadOrder | AppUser | Quarantine | ApiToken | AuditEntry
AnyCounted = QuarantineCount
AnyReported = NotificationSetting | NotificationTemplate | Notification | Webhook | DailyReport
Owned = TypeVar(
    "Owned", Customer, Driver, Vehicle, Device, LoadOrder, AppUser, ApiToken, Notification, Webhook
)


def is_ours(actor: Actor, model: type[AnyOwned | AnyReported | AnyCounted]) -> ColumnElement[bool]:
    """Return the condition for the rows of the actor's tenant; no other module states it."""
    return model.company_id == actor.company_id


def require_manager(actor: Actor) -> None:
    if not actor.manages:
        raise Forbidden("Only a manager may do this.")


def require_company_reader(actor: Actor) -> None:
    if not actor.sees_company:
        raise Forbidden("Only managers and operators may read this.")


def find(session: Session, actor: Actor, model: type[Owned], row_id: int | str) -> Owned:
    """Return one row. Raises `NotFound` if it is missing, another tenant's, or not visible to the actor."""
    return _one(session, actor, _ours(actor, model).where(model.id == row_id), model, row_id)


def lock(session: Session, actor: Actor, model: type[Owned], row_id: int | str) -> Owned:
    """Lock and return one row for a manager to change. Raises `NotFound`, then `Forbidden`."""
    query = _ours(actor, model).where(model.id == row_id).with_for_update(key_share=True)
    row = _one(session, actor, query.execution_options(populate_existing=True), model, row_id)
    require_manager(actor)
    return row


def page(
    session: Session, actor: Actor, model: type[Owned], *, after: int | str | None, limit: int, **filters: Any
) -> Sequence[Owned]:
    """Return a page of rows in id order (keyset pagination).

    ``after`` is the last id of the previous page. ``filters`` are column = value; a value of None is ignored.
    """
    require_company_reader(actor)
    query = _ours(actor, model)
    if after is not None:
        query = query.where(model.id > after)
    for column, value in filters.items():
        if value is not None:
            query = query.where(getattr(model, column) == value)
    return session.scalars(query.order_by(model.id).limit(limit)).all()


def _ours(actor: Actor, model: type[Owned]) -> Select[Owned]:
    return select(model).where(is_ours(actor, model))


def _one(
    session: Session, actor: Actor, query: Select[Owned], model: type[Owned], row_id: int | str
) -> Owned:
    is_possible = isinstance(row_id, str) or 0 < row_id <= MAXIMUM_ID
    row = session.scalar(query) if is_possible and actor.sees_company else None
    if row is None:
        raise NotFound(model.__tablename__.removeprefix("app_").replace("_", " "))
    return row
