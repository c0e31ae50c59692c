"""Devices as ingest sees them: the vehicle that their fixes belong to, and when they last sent something."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, case, func, literal, or_, select, update
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Device, Vehicle
from core.models.people import Driver
from core.rules.enums import Role
from core.rules.fix import Rejection
from core.rules.lifecycle import UNDER_WAY

CONTACT_RECORDED_EVERY = timedelta(minutes=1)
UNKNOWN_DEVICE = Rejection(reason="unknown_device", detail="no device has this id")
DISABLED = Rejection(reason="device_disabled", detail="the device is disabled")
ARCHIVED = Rejection(reason="archived", detail="the device's vehicle or driver is archived")
NO_VEHICLE = Rejection(
    reason="no_vehicle", detail="the device is bound to no vehicle, and its driver has no delivery under way"
)
REFUSALS = {refusal.reason: refusal for refusal in (DISABLED, ARCHIVED)}
# A phone is bound to a driver: its vehicle is that of the driver's most recently started delivery under way.
VEHICLE_OF_DRIVER = (
    select(Delivery.vehicle_id)
    .join(Vehicle, Vehicle.id == Delivery.vehicle_id)
    .where(
        Delivery.driver_id == Device.driver_id,
        Delivery.status.in_(sorted(UNDER_WAY)),
        Vehicle.archived_at.is_(None),
    )
    .order_by(Delivery.started_at.desc(), Delivery.id.desc())
    .limit(1)
    .correlate(Device)
    .scalar_subquery()
)
DEVICES = (
    select(
        Device.id,
        Device.company_id,
        Company.slug,
        func.coalesce(Device.vehicle_id, VEHICLE_OF_DRIVER),
        Device.driver_id,
        case(
            (Device.disabled_at.is_not(None), literal(DISABLED.reason)),
            (or_(Vehicle.archived_at.is_not(None), Driver.archived_at.is_not(None)), ARCHIVED.reason),
        ),
        Device.last_heard_at,
    )
    .join(Company, Company.id == Device.company_id)
    .outerjoin(Vehicle, Vehicle.id == Device.vehicle_id)
    .outerjoin(Driver, Driver.id == Device.driver_id)
    .where(Device.id == any_(bindparam("ids", type_=ARRAY(Text))))
)


class KnownDevice(msgspec.Struct, frozen=True):
    """A device as stored in the database. ``refusal`` is why its fixes are refused, or None.

    ``is_contact_due`` is True if the recorded ``last_heard_at`` is missing or at least a minute old.
    """

    company_id: int
    company: str
    vehicle_id: int | None
    driver_id: int | None
    refusal: Rejection | None
    is_contact_due: bool


def known_devices(session: Session, device_ids: Iterable[str], now: datetime) -> dict[str, KnownDevice]:
    """Return the devices that exist by id, each with the vehicle that its fixes are stored for."""
    due = now - CONTACT_RECORDED_EVERY
    return {
        device_id: KnownDevice(
            company_id,
            company,
            vehicle_id,
            driver_id,
            REFUSALS[refusal] if refusal else NO_VEHICLE if vehicle_id is None else None,
            last_heard_at is None or last_heard_at <= due,
        )
        for device_id, company_id, company, vehicle_id, driver_id, refusal, last_heard_at in session.execute(
            DEVICES, {"ids": list(device_ids)}
        )
    }


def record_contact(session: Session, device_ids: Iterable[str], now: datetime) -> None:
    """Set ``last_heard_at`` of these devices; a row locked by another transaction is skipped."""
    # The device's next message updates a skipped row.
    free = (
        select(Device.id)
        .where(Device.id == any_(literal(list(device_ids), ARRAY(Text))))
        .with_for_update(key_share=True, skip_locked=True)
    )
    session.execute(
        update(Device).where(Device.id.in_(free)).values(last_heard_at=now),
        execution_options={"synchronize_session": False},
    )


def phone_actor(device_id: str, device: KnownDevice) -> Actor | None:
    """Return the driver as the actor for a driver's phone, or None for a GPS unit."""
    if device.driver_id is None:
        return None
    return Actor(
        company_id=device.company_id,
        company_slug=device.company,
        role=Role.DRIVER,
        driver_id=device.driver_id,
        device_id=device_id,
    )
