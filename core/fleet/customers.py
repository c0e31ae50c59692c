"""The recipients of deliveries, people and shops. The caller commits."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.accounts import access
from core.errors import Conflict
from core.fleet import archiving
from core.models.people import Customer
from core.records import audit


class NewCustomer(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    email: str | None = None
    phone: str | None = None
    address: str | None = None


class CustomerChanges(msgspec.Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    address: str | UnsetType | None = UNSET


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Customer]:
    return scoping.page(session, actor, Customer, after=after, limit=limit)


def find(session: Session, actor: Actor, customer_id: int) -> Customer:
    return scoping.find(session, actor, Customer, customer_id)


def add(session: Session, actor: Actor, new: NewCustomer) -> Customer:
    scoping.require_manager(actor)
    customer = Customer(company_id=actor.company_id, **msgspec.structs.asdict(new))
    session.add(customer)
    session.flush()
    audit.added(session, actor, customer)
    return customer


def edit(session: Session, actor: Actor, customer_id: int, changes: CustomerChanges) -> Customer:
    """Set columns. Raises `Conflict` for an erased customer."""
    _require_not_erased(scoping.lock(session, actor, Customer, customer_id))
    return archiving.edit(session, actor, Customer, customer_id, changes)


def archive(session: Session, actor: Actor, customer_id: int, now: datetime) -> Customer:
    """Archive a customer and disable its users. Raises `Conflict` while it has open deliveries."""
    customer, is_new = archiving.archive(session, actor, Customer, customer_id, now)
    if is_new:
        access.disable_people_of(session, actor, customer, now)
    return customer


def restore(session: Session, actor: Actor, customer_id: int) -> Customer:
    """Restore a customer; its users stay disabled until a manager enables them.

    Raises `Conflict` for an erased customer.
    """
    _require_not_erased(scoping.lock(session, actor, Customer, customer_id))
    return archiving.restore(session, actor, Customer, customer_id)


def _require_not_erased(customer: Customer) -> None:
    if customer.erased_at is not None:
        raise Conflict("The customer's data were erased: add a new customer.")
