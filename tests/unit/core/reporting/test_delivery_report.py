"""The report's arithmetic, from rows that were never in a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.load_order import LoadItem
from core.reporting import delivery_figures
from core.rules.enums import CheckpointKind, Status
from core.trips import segments
from core.trips.segments import TripSegment
from tests.support.tracks import travelled_m

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def checkpoint(status: Status, minutes: float, vehicle_id: int | None = 1) -> DeliveryCheckpoint:
    return DeliveryCheckpoint(
        kind=CheckpointKind.STATUS, status=status, occurred_at=at(minutes), vehicle_id=vehicle_id
    )


def delivery(**values: Any) -> Delivery:
    return Delivery(**{"status": Status.DELIVERED, "started_at": NOON, "ended_at": at(60)} | values)


def test_phases_last_from_one_status_to_the_next() -> None:
    timeline = [
        checkpoint(Status.PENDING, -30),
        checkpoint(Status.PICKUP_IN_PROGRESS, 0),
        checkpoint(Status.IN_TRANSIT, 20),
    ]
    phases = delivery_figures.phases(timeline, at(50))
    assert [(phase.status, phase.seconds / 60) for phase in phases] == [
        (Status.PENDING, 30),
        (Status.PICKUP_IN_PROGRESS, 20),
        (Status.IN_TRANSIT, 30),
    ]
    assert phases[-1].ended_at is None


def test_final_status_is_no_phase_and_no_phase_is_negative() -> None:
    timeline = [checkpoint(Status.IN_TRANSIT, 20), checkpoint(Status.DELIVERED, 10)]
    assert [phase.seconds for phase in delivery_figures.phases(timeline, at(50))] == [0.0]
    assert delivery_figures.phases([], NOON) == []


@pytest.mark.parametrize(
    ("values", "on_time", "late_seconds"),
    [
        ({"window_end": None}, None, None),
        ({"window_end": at(60)}, True, 0),
        ({"window_end": at(50)}, False, 600),
        ({"window_end": at(70), "status": Status.FAILED}, False, 0),
        ({"window_end": at(200), "status": Status.IN_TRANSIT, "ended_at": None}, None, 0),
        ({"window_end": at(80), "status": Status.IN_TRANSIT, "ended_at": None}, False, 600),
    ],
)
def test_punctuality_is_against_the_windows_end(
    values: dict[str, Any], on_time: bool | None, late_seconds: float | None
) -> None:
    found = delivery_figures.punctuality(delivery(**values), at(90))
    assert (found.on_time, found.late_seconds) == (on_time, late_seconds)


def test_active_time_runs_until_the_end_or_now() -> None:
    assert delivery_figures.active_seconds(delivery(), at(90)) == 3600
    assert delivery_figures.active_seconds(delivery(ended_at=None), at(90)) == 5400
    assert delivery_figures.active_seconds(delivery(started_at=None), at(90)) is None


def test_load_is_added_up() -> None:
    items = [
        LoadItem(quantity=2, weight_kg=1.5, volume_m3=None),
        LoadItem(quantity=3, weight_kg=None, volume_m3=2),
    ]
    assert delivery_figures.load(items) == delivery_figures.LoadSummary(2, 5, 1.5, 2)


def test_each_vehicle_counts_while_it_was_the_deliverys() -> None:
    announced = [
        checkpoint(Status.PENDING, -30, None),
        checkpoint(Status.PENDING, -20, 7),
        checkpoint(Status.PICKUP_IN_PROGRESS, 0, 7),
        checkpoint(Status.PICKUP_IN_PROGRESS, 15, 8),
        checkpoint(Status.DELIVERED, 60, 8),
    ]
    assert segments.trip_segments(announced, at(0), at(60)) == [
        TripSegment(7, at(0), at(15)),
        TripSegment(8, at(15), at(60)),
    ]
    assert segments.trip_segments(announced, None, at(60)) == []


def test_status_reported_late_does_not_bring_its_vehicle_forward() -> None:
    announced = [
        checkpoint(Status.PENDING, 5, 7),
        checkpoint(Status.PICKUP_IN_PROGRESS, 0, 7),
        checkpoint(Status.PICKUP_IN_PROGRESS, 30, 8),
        checkpoint(Status.IN_TRANSIT, 10, 8),
    ]
    assert segments.trip_segments(announced, at(0), at(60)) == [
        TripSegment(7, at(0), at(30)),
        TripSegment(8, at(30), at(60)),
    ]


def test_distance_ignores_a_parked_receivers_jitter() -> None:
    jitter = [(52.5 + 0.00003 * (i % 2), 13.4) for i in range(100)]
    assert travelled_m(jitter) == 0
    straight = [(52.5 + 0.0005 * i, 13.4) for i in range(11)]
    assert travelled_m(straight) == pytest.approx(556, abs=1)
    crawl = [(52.5 + 0.00005 * i, 13.4) for i in range(101)]
    assert travelled_m(crawl) == pytest.approx(556, abs=12)
    assert travelled_m([]) == 0
