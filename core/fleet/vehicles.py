"""Vehicles. The caller commits."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.fleet import archiving
from core.models.fleet import Vehicle
from core.records import audit, outbox


class NewVehicle(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    plate: str | None = None


class VehicleChanges(msgspec.Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    plate: str | UnsetType | None = UNSET


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Vehicle]:
    return scoping.page(session, actor, Vehicle, after=after, limit=limit)


def find(session: Session, actor: Actor, vehicle_id: int) -> Vehicle:
    return scoping.find(session, actor, Vehicle, vehicle_id)


def add(session: Session, actor: Actor, new: NewVehicle) -> Vehicle:
    scoping.require_manager(actor)
    vehicle = Vehicle(company_id=actor.company_id, **msgspec.structs.asdict(new))
    session.add(vehicle)
    session.flush()
    audit.added(session, actor, vehicle)
    return vehicle


def edit(session: Session, actor: Actor, vehicle_id: int, changes: VehicleChanges) -> Vehicle:
    return archiving.edit(session, actor, Vehicle, vehicle_id, changes)


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
