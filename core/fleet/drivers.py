"""Drivers. The caller commits."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.accounts import access
from core.fleet import archiving
from core.models.people import Driver
from core.records import audit


class NewDriver(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    phone: str | None = None
    licence_number: str | None = None


class DriverChanges(msgspec.Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    phone: str | UnsetType | None = UNSET
    licence_number: str | UnsetType | None = UNSET


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Driver]:
    return scoping.page(session, actor, Driver, after=after, limit=limit)


def find(session: Session, actor: Actor, driver_id: int) -> Driver:
    return scoping.find(session, actor, Driver, driver_id)


def add(session: Session, actor: Actor, new: NewDriver) -> Driver:
    scoping.require_manager(actor)
    driver = Driver(company_id=actor.company_id, **msgspec.structs.asdict(new))
    session.add(driver)
    session.flush()
    audit.added(session, actor, driver)
    return driver


def edit(session: Session, actor: Actor, driver_id: int, changes: DriverChanges) -> Driver:
    return archiving.edit(session, actor, Driver, driver_id, changes)


def archive(session: Session, actor: Actor, driver_id: int, now: datetime) -> Driver:
    """Archive a driver and disable its users. Raises `Conflict` while it has open deliveries."""
    driver, is_new = archiving.archive(session, actor, Driver, driver_id, now)
    if is_new:
        access.disable_people_of(session, actor, driver, now)
    return driver


def restore(session: Session, actor: Actor, driver_id: int) -> Driver:
    """Restore a driver; its users stay disabled until a manager enables them."""
    return archiving.restore(session, actor, Driver, driver_id)
