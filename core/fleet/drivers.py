"""Drivers. The caller commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.accounts import access
from core.fleet import archiving
from core.models.people import Driver
from core.records import audit


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Driver]:
    return scoping.page(session, actor, Driver, after=after, limit=limit)


def find(session: Session, actor: Actor, driver_id: int) -> Driver:
    return scoping.find(session, actor, Driver, driver_id)


def add(session: Session, actor: Actor, values: Mapping[str, Any]) -> Driver:
    """Create a driver. ``values``: name, phone?, licence_number?."""
    scoping.require_manager(actor)
    driver = Driver(company_id=actor.company_id, **values)
    session.add(driver)
    session.flush()
    audit.added(session, actor, driver)
    return driver


def edit(session: Session, actor: Actor, driver_id: int, values: Mapping[str, Any]) -> Driver:
    return archiving.edit(session, actor, Driver, driver_id, values)


def archive(session: Session, actor: Actor, driver_id: int, now: datetime) -> Driver:
    """Archive a driver and disable its users. Raises `Conflict` while it has open deliveries."""
    driver, is_new = archiving.archive(session, actor, Driver, driver_id, now)
    if is_new:
        access.disable_people_of(session, actor, driver, now)
    return driver


def restore(session: Session, actor: Actor, driver_id: int) -> Driver:
    """Restore a driver; its users stay disabled until a manager enables them."""
    return archiving.restore(session, actor, Driver, driver_id)
