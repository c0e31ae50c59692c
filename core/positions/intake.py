"""Intake of telemetry: resolve each device, store its fixes, quarantine the rest."""

import enum
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ARRAY, Text, any_, literal, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Device, Vehicle
from core.models.people import Driver
from core.positions import heard
from core.positions.columns import VehicleFix
from core.positions.store import store
from core.records import quarantine
from core.records.quarantine import Quarantined
from core.rules.enums import Role
from core.rules.facts import PositionFact
from core.rules.fix import Fix, Rejection
from core.rules.lifecycle import UNDER_WAY


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decoded message of one device. Each item is a fix or a rejection; ``raw`` is the whole payload."""

    device_id: str
    topic: str
    raw: bytes
    items: Sequence[Fix | Rejection]


class Result(enum.StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class DeviceAnswer(msgspec.Struct, frozen=True, gc=False):
    """The result for one item of a report; it holds only once the transaction has committed."""

    result: Result
    reason: str | None = None


class Taken(msgspec.Struct, frozen=True):
    """The outcome of a batch: ``answers[i][j]`` is for item j of report i, ``vehicles[i]`` is its vehicle.

    The caller publishes ``facts`` after the commit.
    """

    answers: list[list[DeviceAnswer]]
    facts: list[PositionFact]
    vehicles: list[int | None]


class KnownDevice(msgspec.Struct, frozen=True):
    """A device as stored in the database. ``refusal`` is why its fixes are refused, or None."""

    company_id: int
    company: str
    vehicle_id: int | None
    driver_id: int | None
    refusal: Rejection | None
    last_heard_at: datetime | None = None


STORED = DeviceAnswer(Result.STORED)
DUPLICATE = DeviceAnswer(Result.DUPLICATE)
UNKNOWN_DEVICE = Rejection(reason="unknown_device", detail="no device has this id")
DISABLED = Rejection(reason="device_disabled", detail="the device is disabled")
ARCHIVED = Rejection(reason="archived", detail="the device's vehicle or driver is archived")
OTHER_COMPANY = Rejection(reason="spoofed", detail="company names another company than the device's")
NO_VEHICLE = Rejection(
    reason="no_vehicle", detail="the device is bound to no vehicle, and its driver has no delivery under way"
)


def take(session: Session, reports: Sequence[Report], now: datetime) -> Taken:
    """Store a batch of reports. The caller commits, then publishes the facts and the answers."""
    devices = known_devices(session, {report.device_id for report in reports})
    heard.heard(session, {device_id: device.last_heard_at for device_id, device in devices.items()}, now)
    answers: list[list[DeviceAnswer]] = [[STORED] * len(report.items) for report in reports]
    sightings: list[VehicleFix] = []
    places: list[tuple[int, int]] = []
    refused: list[Quarantined] = []
    for i, report in enumerate(reports):
        device = devices.get(report.device_id)
        refusal = UNKNOWN_DEVICE if device is None else device.refusal
        is_refused_whole = False
        for j, item in enumerate(report.items):
            rejection = _rejection(device, refusal, item)
            if rejection is None:
                sightings.append(_sighting(device, report, item))
                places.append((i, j))
                continue
            answers[i][j] = DeviceAnswer(Result.REJECTED, rejection.reason)
            if rejection is not refusal:
                refused.append(_quarantined(report, device, rejection, _raw(report, item)))
            elif not is_refused_whole:
                # The device is refused, not the item: quarantine the whole message once, not once per item.
                is_refused_whole = True
                refused.append(_quarantined(report, device, rejection, report.raw))
    stored = store(session, sightings, now)
    for (i, j), fresh in zip(places, stored.fresh, strict=True):
        if not fresh:
            answers[i][j] = DUPLICATE
    quarantine.keep(session, refused, now)
    vehicles = [device.vehicle_id if (device := devices.get(r.device_id)) else None for r in reports]
    return Taken(answers, stored.facts, vehicles)


def _rejection(
    device: KnownDevice | None, refusal: Rejection | None, item: Fix | Rejection
) -> Rejection | None:
    """Return why this item is not stored, or None; the object ``refusal`` means the device is refused."""
    if device is None:
        return refusal
    if isinstance(item, Rejection):
        return item
    if item.attributes is not None and item.attributes.get("company", device.company) != device.company:
        return OTHER_COMPANY
    return refusal


def _sighting(device: KnownDevice | None, report: Report, item: Fix | Rejection) -> VehicleFix:
    if device is None or device.vehicle_id is None or isinstance(item, Rejection):
        raise ValueError("only a fix of a device with a vehicle is a sighting")
    return VehicleFix(device.vehicle_id, item, report.device_id)


def _raw(report: Report, item: Fix | Rejection) -> bytes:
    """Return the item's own bytes. A fix of an array does not keep them, so it is encoded again."""
    if isinstance(item, Rejection):
        return report.raw if item.raw is None else item.raw
    return report.raw if len(report.items) == 1 else msgspec.json.encode(item)


def _quarantined(report: Report, device: KnownDevice | None, rejection: Rejection, raw: bytes) -> Quarantined:
    return Quarantined(
        company_id=device.company_id if device else None,
        device_id=report.device_id,
        topic=report.topic,
        raw=raw,
        reason=rejection.reason,
        detail=rejection.detail,
    )


def known_devices(session: Session, device_ids: Iterable[str]) -> dict[str, KnownDevice]:
    """Return the devices that exist by id, each with the vehicle that its fixes are stored for."""
    rows = session.execute(
        select(
            Device.id,
            Device.company_id,
            Company.slug,
            Device.vehicle_id,
            Device.driver_id,
            Device.disabled_at.is_not(None),
            (Vehicle.archived_at.is_not(None)) | (Driver.archived_at.is_not(None)),
            Device.last_heard_at,
        )
        .join(Company, Company.id == Device.company_id)
        .outerjoin(Vehicle, Vehicle.id == Device.vehicle_id)
        .outerjoin(Driver, Driver.id == Device.driver_id)
        .where(Device.id == any_(literal(list(device_ids), ARRAY(Text))))
    ).all()
    vehicles = vehicles_of_drivers(session, {row.driver_id for row in rows if row.driver_id is not None})
    return {
        device_id: _known(
            company_id, slug, vehicle_id or vehicles.get(driver_id), driver_id, disabled, archived, heard_at
        )
        for device_id, company_id, slug, vehicle_id, driver_id, disabled, archived, heard_at in rows
    }


def _known(
    company_id: int,
    company: str,
    vehicle_id: int | None,
    driver_id: int | None,
    disabled: bool,
    archived: bool | None,
    heard_at: datetime | None,
) -> KnownDevice:
    refusal = None
    if disabled:
        refusal = DISABLED
    elif archived:
        refusal = ARCHIVED
    elif vehicle_id is None:
        refusal = NO_VEHICLE
    return KnownDevice(company_id, company, vehicle_id, driver_id, refusal, heard_at)


def vehicles_of_drivers(session: Session, driver_ids: Iterable[int]) -> dict[int | None, int]:
    """Return for each driver the vehicle of the most recently started delivery under way."""
    wanted = list(driver_ids)
    if not wanted:
        return {}
    rows = session.execute(
        select(Delivery.driver_id, Delivery.vehicle_id)
        .join(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .where(Delivery.driver_id.in_(wanted), Delivery.status.in_(UNDER_WAY), Vehicle.archived_at.is_(None))
        .order_by(Delivery.driver_id, Delivery.started_at.desc(), Delivery.id.desc())
        .ext(distinct_on(Delivery.driver_id))
    )
    return {driver_id: vehicle_id for driver_id, vehicle_id in rows if vehicle_id is not None}


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
