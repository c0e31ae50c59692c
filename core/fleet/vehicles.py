"""Vehicles. The caller commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.fleet import archiving
from core.models.fleet import Vehicle
from core.records import audit, outbox


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Vehicle]:
    return scoping.page(session, actor, Vehicle, after=after, limit=limit)


def find(session: Session, actor: Actor, vehicle_id: int) -> Vehicle:
    return scoping.find(session, actor, Vehicle, vehicle_id)


def add(session: Session, actor: Actor, values: Mapping[str, Any]) -> Vehicle:
    """Create a vehicle. ``values``: name, plate?."""
    scoping.require_manager(actor)
    vehicle = Vehicle(company_id=actor.company_id, **values)
    session.add(vehicle)
    session.flush()
    audit.added(session, actor, vehicle)
    return vehicle


def edit(session: Session, actor: Actor, vehicle_id: int, values: Mapping[str, Any]) -> Vehicle:
    return archiving.edit(session, actor, Vehicle, vehicle_id, values)


def archive(session: Session, actor: Actor, vehicle_id: int, now: datetime) -> Vehicle:
    """Archive a vehicle and clear its retained position. Raises `Conflict` while it has open deliveries."""
    vehicle, is_new = archiving.archive(session, actor, Vehicle, vehicle_id, now)
    if is_new:
        outbox.clear_retained(
            session, outbox.OutboxKind.VEHICLE_GONE, vehicle.company_id, actor.company_slug, vehicle.id
        )
    return vehicle


def restore(session: Session, actor: Actor, vehicle_id: int) -> Vehicle:
    """Restore a vehicle; its position is retained by the broker again with its next fix."""
    return archiving.restore(session, actor, Vehicle, vehicle_id)
