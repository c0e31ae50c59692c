"""Intake of telemetry: resolve each device, store its fixes, quarantine the rest."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from core.positions.devices import (
    NO_VEHICLE,
    UNKNOWN_DEVICE,
    KnownDevice,
    known_devices,
    record_contact,
)
from core.positions.store import store
from core.records import quarantine
from core.records.quarantine import Quarantined
from core.rules.facts import PositionFact
from core.rules.fix import Fix, Rejection, VehicleFix


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


class Judged(msgspec.Struct, frozen=True):
    """A batch's items: the fixes to store, with their places ``(i, j)`` in ``answers``; the refused ones."""

    answers: list[list[DeviceAnswer]]
    fixes: list[VehicleFix]
    places: list[tuple[int, int]]
    refused: list[Quarantined]


STORED = DeviceAnswer(Result.STORED)
DUPLICATE = DeviceAnswer(Result.DUPLICATE)
OTHER_COMPANY = Rejection(reason="spoofed", detail="company names another company than the device's")


def take(session: Session, reports: Sequence[Report], now: datetime) -> Taken:
    """Store a batch of reports. The caller commits, then publishes the facts and the answers."""
    devices = known_devices(session, {report.device_id for report in reports}, now)
    if due := [device_id for device_id, device in devices.items() if device.is_contact_due]:
        record_contact(session, due, now)
    judged = _judge(reports, devices)
    stored = store(session, judged.fixes, now)
    for (i, j), is_fresh in zip(judged.places, stored.fresh, strict=True):
        if not is_fresh:
            judged.answers[i][j] = DUPLICATE
    if judged.refused:
        quarantine.keep(session, judged.refused, now)
    vehicles = [device.vehicle_id if (device := devices.get(r.device_id)) else None for r in reports]
    return Taken(judged.answers, stored.facts, vehicles)


def _judge(reports: Sequence[Report], devices: Mapping[str, KnownDevice]) -> Judged:
    """Decide which items are stored; the answers are those of a batch without duplicates."""
    judged = Judged([[STORED] * len(report.items) for report in reports], [], [], [])
    for i, report in enumerate(reports):
        device = devices.get(report.device_id)
        refusal = UNKNOWN_DEVICE if device is None else device.refusal
        is_refused_whole = False
        for j, item in enumerate(report.items):
            outcome = _judge_item(device, report.device_id, item)
            if isinstance(outcome, VehicleFix):
                judged.fixes.append(outcome)
                judged.places.append((i, j))
                continue
            judged.answers[i][j] = DeviceAnswer(Result.REJECTED, outcome.reason)
            if outcome is not refusal:
                judged.refused.append(_quarantined(report, device, outcome, _raw(report, item)))
            elif not is_refused_whole:
                # The device is refused, not the item: quarantine the whole message once, not once per item.
                is_refused_whole = True
                judged.refused.append(_quarantined(report, device, outcome, report.raw))
    return judged


def _judge_item(device: KnownDevice | None, device_id: str, item: Fix | Rejection) -> VehicleFix | Rejection:
    """Return the fix to store, or why the item is not stored: the device's own refusal comes last."""
    if device is None:
        return UNKNOWN_DEVICE
    if isinstance(item, Rejection):
        return item
    if item.attributes is not None and item.attributes.get("company", device.company) != device.company:
        return OTHER_COMPANY
    if device.refusal is not None or device.vehicle_id is None:
        return device.refusal or NO_VEHICLE
    return VehicleFix(device.vehicle_id, item, device_id)


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
