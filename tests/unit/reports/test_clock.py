"""Times on reports: the company's, also at the calendar's ends, and with dates over several days."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from core.trips.speeds import SpeedStep
from reports.charts import speed_chart, time_line
from reports.charts.time_line import Stretch
from reports.pages.clock import Clock

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def axis(drawing: str | None) -> list[str]:
    """The words below, which stand at the places of times."""
    assert drawing is not None
    return re.findall(r">(\d[^<>]*)</text>", drawing)


def drawn(hours: float, zone: str = "UTC", start: datetime = START) -> list[list[str]]:
    end = start + timedelta(hours=hours)
    clock = Clock(zone, [start, end])
    line = time_line.draw([Stretch("", start, end, "red")], None, None, clock)
    speed = speed_chart.draw([SpeedStep(start, 60, 0, 0)], [], start, end, clock)
    return [axis(line), [words for words in axis(speed) if not words.isdigit()]]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "UTC"])
def test_a_window_at_the_calendars_ends_has_words(zone: str) -> None:
    clock = Clock(zone, [FIRST, START, LAST])
    assert clock.both(FIRST).startswith(("1 Jan 1, ", "31 Dec"))
    assert "9999" in clock.both(LAST)


def test_hours_of_one_day_have_the_time_only() -> None:
    for words in drawn(3):
        assert "10:00" in words
        assert all(":" in word for word in words)


def test_several_days_have_their_dates() -> None:
    for words in drawn(24 * 25):
        assert len(set(words)) == len(words) > 3
        assert all(re.fullmatch(r"\d+ Mar", word) for word in words), words


def test_midnight_between_hours_has_the_new_day() -> None:
    for words in drawn(20):
        assert "2 Mar" in words
        assert "18:00" in words


def test_the_hour_that_comes_twice_is_there_twice() -> None:
    before = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    for words in drawn(3, "Europe/Berlin", before):
        assert [word for word in words if word == "02:30"] == ["02:30", "02:30"]
