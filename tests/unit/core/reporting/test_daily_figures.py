"""A day's sums, its hours where the clocks change, its pictures."""

from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree

import pytest

from core.reporting import daily_figures
from core.reporting.daily_figures import MAXIMUM_REASONS, Cell, Tally
from core.rules.enums import Status
from core.rules.times import time_zones
from reports.charts import day_charts
from reports.pages.clock import Clock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def cell(status: Status = Status.DELIVERED, number: int = 1, **values: int | None) -> Cell:
    defaults: dict[str, int | None] = {
        "driver_id": 1,
        "vehicle_id": 1,
        "hour": 8,
        "with_window": number,
        "on_time": number,
        "late": 0,
        "delivered_late": 0,
    }
    return Cell(status=status, deliveries=number, late_seconds=0.0, **defaults | values)  # type: ignore[arg-type]


def test_rate_is_over_all_that_had_a_window_and_failures_lower_it() -> None:
    tally = daily_figures.summed(
        [cell(number=7), cell(Status.FAILED, 2, on_time=0), cell(number=5, with_window=0, on_time=0)]
    )
    assert (tally.deliveries, tally.delivered, tally.failed, tally.with_window) == (14, 12, 2, 9)
    assert tally.on_time_percent == 77.8
    assert Tally().on_time_percent is None


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 28), 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)]
)
def test_day_has_as_many_hours_as_the_clocks_gave_it(day: date, hours: int) -> None:
    starts_at, ends_at = time_zones.day_bounds(day, "Europe/Berlin")
    found = daily_figures.hours([cell(hour=hours - 1)], starts_at, ends_at)
    assert len(found) == hours
    assert found[-1].tally.deliveries == 1
    assert found[-1].start + timedelta(hours=1) == ends_at
    clock = Clock("Europe/Berlin", [starts_at, ends_at])
    drawn = ElementTree.fromstring(day_charts.by_hour(found, clock))
    labels = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert labels.count("02") == {23: 0, 24: 1, 25: 2}[hours]
    assert ("UTC+01:00, UTC+02:00" in clock.title) is (hours != 24)


def test_half_an_hour_of_change_leaves_a_short_last_hour() -> None:
    starts_at, ends_at = time_zones.day_bounds(date(2026, 10, 4), "Australia/Lord_Howe")
    assert ends_at - starts_at == timedelta(hours=23, minutes=30)
    assert len(daily_figures.hours([], starts_at, ends_at)) == 24


def test_equal_reasons_are_one_and_rare_ones_are_put_together() -> None:
    failures = [
        (1, Status.FAILED, "Nobody  there"),
        (2, Status.FAILED, "nobody there"),
        (3, Status.FAILED, None),
    ]
    found = daily_figures.reasons([*failures, (4, Status.RETURNED, "nobody there")])
    assert [(one.reason, one.status, one.delivery_ids) for one in found] == [
        ("Nobody there", Status.FAILED, [1, 2]),
        ("no reason given", Status.FAILED, [3]),
        ("nobody there", Status.RETURNED, [4]),
    ]
    many = daily_figures.reasons([(i, Status.FAILED, f"reason {i:03}") for i in range(MAXIMUM_REASONS + 5)])
    assert len(many) == MAXIMUM_REASONS + 1
    assert (many[-1].reason, len(many[-1].delivery_ids)) == ("other reasons", 5)


def test_shares_name_whoever_ended_or_drove() -> None:
    cells = [cell(number=2, driver_id=5), cell(number=1, driver_id=None), cell(number=3, driver_id=7)]
    found = daily_figures.shares(cells, lambda one: one.driver_id, {5: "E", 8: "H"}, {8: 1234.56, 9: 0.0})
    assert [(one.id, one.name, one.tally.deliveries, one.distance_m) for one in found] == [
        (7, "no. 7", 3, 0.0),
        (5, "E", 2, 0.0),
        (None, "nobody", 1, 0.0),
        (8, "H", 0, 1234.6),
    ]


def test_parts_of_the_bar_are_all_of_the_day() -> None:
    tally = daily_figures.summed(
        [
            cell(number=7),
            cell(number=2, on_time=0, late=2, delivered_late=2),
            cell(number=3, with_window=0, on_time=0),
            cell(Status.FAILED, 2, on_time=0, late=1),
            cell(Status.RETURNED, 1, on_time=0),
        ]
    )
    assert [number for _, number, _ in day_charts.parts(tally)] == [7, 3, 2, 1, 2]
    assert sum(number for _, number, _ in day_charts.parts(tally)) == tally.deliveries


@pytest.mark.parametrize("percent", [0.0, 0.4, 50.0, 99.9, 100.0])
def test_ring_is_drawn_for_every_share(percent: float) -> None:
    ring = day_charts.on_time_ring(percent)
    assert ring is not None
    ElementTree.fromstring(ring)


def test_day_without_deliveries_draws_neither_bar_nor_ring() -> None:
    assert day_charts.outcomes(Tally()) is None
    assert day_charts.on_time_ring(None) is None
    hours = daily_figures.hours([], NOON, NOON + timedelta(hours=24))
    ElementTree.fromstring(day_charts.by_hour(hours, Clock("UTC", [NOON])))
