"""Commands on deliveries: create, edit, assign. The caller commits."""

from collections.abc import Container, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.access.references import require_reference
from core.access.scoping import require_manager
from core.deliveries.lookup import find, lock
from core.deliveries.publishing import publish_checkpoint
from core.errors import Conflict, InvalidValue
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.load_order import LoadOrder
from core.models.people import Customer, Driver
from core.records import audit
from core.rules.changes import set_fields
from core.rules.enums import CheckpointKind, Status
from core.rules.lifecycle import FINAL, UNDER_WAY, require_version

LONGEST_WINDOW = timedelta(days=366)
REFERRED: Mapping[str, type[Customer | Driver | Vehicle | LoadOrder]] = {
    "customer_id": Customer,
    "driver_id": Driver,
    "vehicle_id": Vehicle,
    "load_order_id": LoadOrder,
}


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """``created_at`` is for deliveries of the past; without it the delivery is created now."""

    reference: str
    customer_id: int
    driver_id: int | None = None
    vehicle_id: int | None = None
    load_order_id: int | None = None
    pickup_address: str
    pickup_latitude: float | None = None
    pickup_longitude: float | None = None
    dropoff_address: str
    dropoff_latitude: float | None = None
    dropoff_longitude: float | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    created_at: datetime | UnsetType = UNSET


class DeliveryChanges(msgspec.Struct, frozen=True, kw_only=True):
    reference: str | UnsetType = UNSET
    customer_id: int | UnsetType = UNSET
    driver_id: int | UnsetType | None = UNSET
    vehicle_id: int | UnsetType | None = UNSET
    load_order_id: int | UnsetType | None = UNSET
    pickup_address: str | UnsetType = UNSET
    pickup_latitude: float | UnsetType | None = UNSET
    pickup_longitude: float | UnsetType | None = UNSET
    dropoff_address: str | UnsetType = UNSET
    dropoff_latitude: float | UnsetType | None = UNSET
    dropoff_longitude: float | UnsetType | None = UNSET
    window_start: datetime | UnsetType | None = UNSET
    window_end: datetime | UnsetType | None = UNSET


def create(session: Session, actor: Actor, new: NewDelivery, now: datetime) -> Delivery:
    """Create a pending delivery."""
    require_manager(actor)
    values = set_fields(new)
    _check_references(session, actor, values)
    _check_window(new.window_start, new.window_end)
    delivery = Delivery(company_id=actor.company_id, status=Status.PENDING, **values)
    delivery.vehicle_since = now
    session.add(delivery)
    session.flush()
    audit.added(session, actor, delivery)
    publish_checkpoint(session, delivery, CheckpointKind.STATUS, actor, now)
    return find(session, actor, delivery.id)


def edit(
    session: Session,
    actor: Actor,
    delivery_id: int,
    edited: DeliveryChanges,
    now: datetime,
    *,
    versions: Container[int] | None = None,
) -> Delivery:
    """Set columns. A change of driver or vehicle is an assignment: it writes a checkpoint and an event.

    Raises `PreconditionFailed` unless the delivery's version is one of ``versions`` (None: any version).
    """
    delivery = lock(session, actor, delivery_id)
    require_manager(actor)
    require_version(delivery.version, versions)
    changes = {name: value for name, value in set_fields(edited).items() if getattr(delivery, name) != value}
    if not changes:
        return find(session, actor, delivery_id)
    if delivery.status in FINAL:
        raise Conflict(f"A delivery that is {delivery.status} cannot be edited.", current=delivery.status)
    _check_references(session, actor, changes)
    _check_assignment(delivery, changes)
    audit.change(session, actor, delivery, changes)
    _check_window(delivery.window_start, delivery.window_end)
    delivery.version += 1
    if "vehicle_id" in changes:
        delivery.vehicle_since = now
    if changes.keys() & {"driver_id", "vehicle_id"}:
        publish_checkpoint(session, delivery, CheckpointKind.ASSIGNMENT, actor, now)
    session.flush()
    return find(session, actor, delivery_id)


def _check_assignment(delivery: Delivery, changes: Mapping[str, Any]) -> None:
    for name in ("driver_id", "vehicle_id"):
        if delivery.status in UNDER_WAY and name in changes and changes[name] is None:
            raise Conflict(f"A delivery that is under way needs a {name}.", current=delivery.status)


def _check_references(session: Session, actor: Actor, values: Mapping[str, Any]) -> None:
    """Require that every id is an unarchived row of this tenant; another tenant's id counts as missing."""
    for field, model in REFERRED.items():
        if (row_id := values.get(field)) is not None:
            require_reference(session, actor, field, model, row_id)


def _check_window(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise InvalidValue("window_end", "must be later than window_start")
    if start is not None and end is not None and end - start > LONGEST_WINDOW:
        raise InvalidValue("window_end", "must lie within 366 days of window_start")
