"""Detect silent devices: no telemetry, although their vehicle or driver has a delivery under way.

Any telemetry counts as a sign of life, usable or not. `core.positions.devices` records it to the minute, so
that ingest writes one row per device and minute. A silence begins when the device last reported, but not
before a delivery made the system expect it; a device that never reported is silent from then on. The event
is sent once per silence, which ends with the next telemetry.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ARRAY, Text, any_, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.fleet import Device, Vehicle
from core.notifications import queue
from core.notifications.events import DeviceSilent, NamedDevice, NamedVehicle
from core.positions.devices import CONTACT_RECORDED_EVERY
from core.records import outbox
from core.rules.enums import CheckpointKind
from core.rules.facts import AlertFact
from core.rules.lifecycle import UNDER_WAY

ALERT = "device_silent"


class Expected(msgspec.Struct, frozen=True):
    """A delivery under way for which a device should send telemetry, from ``since`` on."""

    delivery_id: int
    vehicle_id: int
    started_at: datetime
    since: datetime


def silent_since(last_heard_at: datetime | None, made_at: datetime, expected: Iterable[datetime]) -> datetime:
    """Return when the silence began; ``expected`` are the times since when deliveries expect the device."""
    return max(last_heard_at or made_at, made_at, min(expected))


def is_silent(since: datetime, after_min: int, now: datetime) -> bool:
    """Return whether the device is silent; its stored time may lag behind by `CONTACT_RECORDED_EVERY`."""
    return since + timedelta(minutes=after_min) + CONTACT_RECORDED_EVERY <= now


def find_without_event(session: Session, now: datetime) -> dict[str, list[Expected]]:
    """Return the silent devices without an event, each with the deliveries that expect it."""
    expected = _expected(session, now)
    rows = session.execute(
        select(Device.id, Device.last_heard_at, Device.created_at, Company.device_silent_after_min)
        .join(Company, Company.id == Device.company_id)
        .where(Device.id == any_(literal(list(expected), ARRAY(Text))))
        .order_by(Device.id)
    )
    return {
        device_id: expected[device_id]
        for device_id, last_heard_at, made_at, after_min in rows
        if is_silent(silent_since(last_heard_at, made_at, _instants(expected[device_id])), after_min, now)
    }


def record_events(session: Session, devices: Mapping[str, Sequence[Expected]], now: datetime) -> int:
    """Queue notifications for devices that are still silent; return how many.

    Devices that another process has locked are left to it.
    """
    rows = session.execute(
        select(Device, Company)
        .join(Company, Company.id == Device.company_id)
        .where(Device.id.in_(devices), *_is_due(now))
        .order_by(Device.id)
        .with_for_update(of=Device, key_share=True, skip_locked=True)
    ).all()
    return sum(_record_event(session, device, company, devices[device.id], now) for device, company in rows)


def _record_event(
    session: Session, device: Device, company: Company, expected: Sequence[Expected], now: datetime
) -> bool:
    since = silent_since(device.last_heard_at, device.created_at, _instants(expected))
    if not is_silent(since, company.device_silent_after_min, now):
        return False
    device.silence_told_at = now
    minutes = int((now - since) / timedelta(minutes=1))
    # Like ingest, attribute a phone to the delivery that its driver started last.
    latest = max(expected, key=lambda delivery: (delivery.started_at, delivery.delivery_id))
    vehicle = session.get_one(Vehicle, latest.vehicle_id)
    event = DeviceSilent(
        device=NamedDevice(id=device.id, name=device.label),
        vehicle=NamedVehicle(id=vehicle.id, name=vehicle.name),
        last_seen_at=device.last_heard_at,
        silent_minutes=minutes,
    )
    queue.queue(
        session,
        company.id,
        event,
        now,
        once=f"device:{device.id}:{device.last_heard_at.isoformat() if device.last_heard_at else 'never'}",
    )
    fact = AlertFact(
        company=company.slug,
        kind=ALERT,
        vehicle=vehicle.id,
        device=device.id,
        detail=f"device {device.id} has been silent for {minutes} min",
        occurred_at=now,
    )
    outbox.add_fact(session, company.id, fact)
    return True


def _instants(expected: Iterable[Expected]) -> list[datetime]:
    return [delivery.since for delivery in expected]


def _is_due(now: datetime) -> tuple[Any, ...]:
    """Exclude devices that are disabled, have just reported, or whose present silence has had its event."""
    return (
        Device.disabled_at.is_(None),
        or_(Device.last_heard_at.is_(None), Device.last_heard_at < now - CONTACT_RECORDED_EVERY),
        or_(Device.silence_told_at.is_(None), Device.silence_told_at < Device.last_heard_at),
    )


def _expected(session: Session, now: datetime) -> dict[str, list[Expected]]:
    """Return, per device, the deliveries under way with its vehicle or driver."""
    columns = (Device.id, Delivery.id, Delivery.vehicle_id, Delivery.started_at)
    wanted = (*_is_due(now), Delivery.status.in_(UNDER_WAY))
    rows = session.execute(
        union_all(
            select(*columns).join(Delivery, Delivery.vehicle_id == Device.vehicle_id).where(*wanted),
            select(*columns).join(Delivery, Delivery.driver_id == Device.driver_id).where(*wanted),
        )
    ).all()
    assigned = _assigned(session, {delivery_id for _device, delivery_id, _vehicle, _at in rows})
    expected: defaultdict[str, list[Expected]] = defaultdict(list)
    for device_id, delivery_id, vehicle_id, started_at in rows:
        if vehicle_id is None or started_at is None:
            continue
        since = max(started_at, assigned.get(delivery_id, started_at))
        expected[device_id].append(Expected(delivery_id, vehicle_id, started_at, since))
    return expected


def _assigned(session: Session, delivery_ids: Iterable[int]) -> dict[int, datetime]:
    """Return when the present driver or vehicle was assigned, before which no device is expected."""
    rows = session.execute(
        select(DeliveryCheckpoint.delivery_id, func.max(DeliveryCheckpoint.recorded_at))
        .where(
            DeliveryCheckpoint.delivery_id.in_(list(delivery_ids)),
            DeliveryCheckpoint.kind == CheckpointKind.ASSIGNMENT,
        )
        .group_by(DeliveryCheckpoint.delivery_id)
    )
    return dict(rows.all())
