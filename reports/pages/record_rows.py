"""A delivery's checkpoints as the rows of a table."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from core.models.delivery import DeliveryCheckpoint
from core.reporting.delivery_report import DeliveryReport
from core.reporting.record_names import Names
from core.rules.enums import CheckpointKind
from reports.pages import tables, words
from reports.pages.clock import Clock, duration

MAXIMUM_LOCATIONS = 120  # on paper; the full list is available as a track
LONGEST_NAME = 40  # fits a narrow column
REPORTED_LATE = timedelta(minutes=2)


def headings(report: DeliveryReport) -> list[dict[str, str]]:
    where = [] if report.is_for_customer else ["t:Where"]
    return tables.headings("t:When", "w:What", *where, "By")


def rows(report: DeliveryReport, clock: Clock) -> list[dict[str, Any]]:
    """Return all checkpoints, but at most about `MAXIMUM_LOCATIONS` locations, evenly thinned out."""
    return [_row(report, checkpoint, clock) for checkpoint in _shown(report)]


def note(report: DeliveryReport) -> str | None:
    """Return a note on the locations that the rows omit."""
    total = (report.counts or {}).get(CheckpointKind.LOCATION, 0)
    shown = sum(checkpoint.kind is CheckpointKind.LOCATION for checkpoint in _shown(report))
    if shown >= total:
        return None
    return f"Of {total:,} location checkpoints {shown} are listed here, evenly chosen."


def actor_words(checkpoint: DeliveryCheckpoint, names: Names) -> str:
    """Return the actor's name, or without one, as for customers, the kind of actor."""
    if checkpoint.actor_driver_id is not None:
        return _named("driver", names.drivers.get(checkpoint.actor_driver_id))
    if checkpoint.actor_user_id is not None:
        return _named("office", names.users.get(checkpoint.actor_user_id))
    if checkpoint.actor_api_token_id is not None:
        return _named("integration", names.tokens.get(checkpoint.actor_api_token_id))
    if checkpoint.actor_device_id is not None:
        return _named("device", names.devices.get(checkpoint.actor_device_id))
    return "–"  # noqa: RUF001


def _named(kind: str, name: str | None) -> str:
    return f"{words.cut(name, LONGEST_NAME)} ({kind})" if name else kind


def _shown(report: DeliveryReport) -> Iterator[DeliveryCheckpoint]:
    locations = _thinned(report.route or [])
    for checkpoint in report.record:
        if checkpoint.kind is not CheckpointKind.LOCATION or checkpoint.id in locations:
            yield checkpoint


def _thinned(route: Sequence[DeliveryCheckpoint]) -> set[int]:
    step = max(1, -(-len(route) // MAXIMUM_LOCATIONS))
    return {checkpoint.id for checkpoint in route[::step]}


def _row(report: DeliveryReport, checkpoint: DeliveryCheckpoint, clock: Clock) -> dict[str, Any]:
    cells = [clock.both(checkpoint.occurred_at), _what(checkpoint, report.names)]
    if not report.is_for_customer:
        cells.append(_where(checkpoint))
        cells[1] += _late_note(checkpoint)
    cells.append(actor_words(checkpoint, report.names))
    return tables.row(*cells, is_moment=checkpoint.kind is CheckpointKind.STATUS)


def _what(checkpoint: DeliveryCheckpoint, names: Names) -> str:
    if checkpoint.kind is CheckpointKind.ASSIGNMENT:
        driver = names.drivers.get(checkpoint.driver_id or 0, "no driver")
        vehicle = names.vehicles.get(checkpoint.vehicle_id or 0, "no vehicle")
        return f"Assigned: {driver}, {vehicle}"
    if checkpoint.kind is CheckpointKind.PROOF:
        return "Proof of delivery added"
    if checkpoint.kind is CheckpointKind.LOCATION:
        speed = checkpoint.speed_kmh
        return "Location" if speed is None else f"Location, {speed:.0f} km/h"
    status = words.STATUS[checkpoint.status]
    return f"{status}: {checkpoint.reason}" if checkpoint.reason else status


def _late_note(checkpoint: DeliveryCheckpoint) -> str:
    delay = checkpoint.recorded_at - checkpoint.occurred_at
    is_late = checkpoint.kind is CheckpointKind.STATUS and delay >= REPORTED_LATE
    return f" (reported {duration(delay.total_seconds())} later)" if is_late else ""


def _where(checkpoint: DeliveryCheckpoint) -> str:
    if checkpoint.latitude is None or checkpoint.longitude is None:
        return ""
    return place_words(checkpoint.latitude, checkpoint.longitude)


def place_words(latitude: float, longitude: float) -> str:
    return f"{latitude:.5f}, {longitude:.5f}"
