"""GPS units and drivers' phones: create, bind, rotate, disable. The caller commits.

Each change of who may connect is queued for the broker; a binding is not, because topics contain no vehicle.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.access.references import require_reference
from core.errors import InvalidValue
from core.identities import mqtt_secret, new_device_id, shard_of
from core.models.fleet import Device, Vehicle
from core.models.people import Driver
from core.records import audit, outbox
from core.rules.changes import set_fields


class Credentials(msgspec.Struct, frozen=True):
    """The settings to type into a device: id (its MQTT user name), secret, and the shard of its topics."""

    device_id: str
    secret: str
    shard: str


class NewDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Bound to a vehicle, to a driver (a phone), or to neither yet."""

    label: str
    vehicle_id: int | None = None
    driver_id: int | None = None


class DeviceChanges(msgspec.Struct, frozen=True, kw_only=True):
    label: str | UnsetType = UNSET
    vehicle_id: int | UnsetType | None = UNSET
    driver_id: int | UnsetType | None = UNSET


def page(
    session: Session,
    actor: Actor,
    *,
    after: str | None,
    limit: int,
    vehicle_id: int | None = None,
    driver_id: int | None = None,
) -> Sequence[Device]:
    return scoping.page(
        session, actor, Device, after=after, limit=limit, vehicle_id=vehicle_id, driver_id=driver_id
    )


def find(session: Session, actor: Actor, device_id: str) -> Device:
    return scoping.find(session, actor, Device, device_id)


def add(session: Session, actor: Actor, new: NewDevice) -> Device:
    """Create a device with a new id."""
    scoping.require_manager(actor)
    _check_binding(session, actor, new.vehicle_id, new.driver_id)
    device = Device(id=new_device_id(), company_id=actor.company_id, **msgspec.structs.asdict(new))
    session.add(device)
    session.flush()
    audit.added(session, actor, device)
    _sync_broker(session, device)
    return device


def edit(session: Session, actor: Actor, device_id: str, edited: DeviceChanges) -> Device:
    """Rename or bind a device; binding to one kind ends a binding to the other."""
    device = scoping.lock(session, actor, Device, device_id)
    changes = set_fields(edited)
    if changes.get("vehicle_id") is not None:
        changes.setdefault("driver_id", None)
    if changes.get("driver_id") is not None:
        changes.setdefault("vehicle_id", None)
    _check_binding(session, actor, changes.get("vehicle_id"), changes.get("driver_id"))
    audit.change(session, actor, device, changes)
    return device


def credentials(session: Session, actor: Actor, device_id: str, mqtt_key: str) -> Credentials:
    """Return the present secret, which is derived and not stored. For managers only."""
    device = scoping.find(session, actor, Device, device_id)
    scoping.require_manager(actor)
    audit.note(session, actor, "credentials_shown", device)
    return _credentials(device, mqtt_key)


def rotate(session: Session, actor: Actor, device_id: str, mqtt_key: str) -> Credentials:
    """Make a new secret; the broker refuses the old one as soon as the jobs process has synced it."""
    device = scoping.lock(session, actor, Device, device_id)
    device.secret_version += 1
    audit.note(session, actor, "secret_rotated", device)
    _sync_broker(session, device)
    return _credentials(device, mqtt_key)


def disable(session: Session, actor: Actor, device_id: str, now: datetime) -> Device:
    """Disable a device: the broker ends its connection, and fixes still in transit are quarantined."""
    device = scoping.lock(session, actor, Device, device_id)
    if device.disabled_at is None:
        device.disabled_at = now
        audit.note(session, actor, "disabled", device)
        _sync_broker(session, device)
    return device


def enable(session: Session, actor: Actor, device_id: str) -> Device:
    device = scoping.lock(session, actor, Device, device_id)
    if device.disabled_at is not None:
        device.disabled_at = None
        audit.note(session, actor, "enabled", device)
        _sync_broker(session, device)
    return device


def _check_binding(session: Session, actor: Actor, vehicle_id: int | None, driver_id: int | None) -> None:
    if vehicle_id is not None and driver_id is not None:
        raise InvalidValue("driver_id", "a device is bound to a vehicle or to a driver, not to both")
    if vehicle_id is not None:
        require_reference(session, actor, "vehicle_id", Vehicle, vehicle_id)
    if driver_id is not None:
        require_reference(session, actor, "driver_id", Driver, driver_id)


def _credentials(device: Device, mqtt_key: str) -> Credentials:
    return Credentials(
        device.id, mqtt_secret(mqtt_key, device.id, device.secret_version), shard_of(device.id)
    )


def _sync_broker(session: Session, device: Device) -> None:
    outbox.sync_access(session, outbox.OutboxKind.DEVICE, device.company_id, device.id)
