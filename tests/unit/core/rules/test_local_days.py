"""A company's days: at the clocks' changes, at month edges, and when they count as over."""

from datetime import UTC, date, datetime, timedelta

import pytest

from core.rules.times import time_zones
from core.rules.times.time_zones import CAUGHT_UP_DAYS, missing_days

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "day", "starts_at", "hours"),
    [
        ("UTC", date(2026, 2, 28), datetime(2026, 2, 28, tzinfo=UTC), 24),
        (BERLIN, date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (BERLIN, date(2026, 10, 25), datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        (BERLIN, date(2027, 1, 1), datetime(2026, 12, 31, 23, tzinfo=UTC), 24),
        # The clocks skip midnight itself: the day begins at one o'clock.
        ("Africa/Cairo", date(2026, 4, 24), datetime(2026, 4, 23, 22, tzinfo=UTC), 23),
        # Midnight comes twice: the day begins with the first.
        ("America/Havana", date(2026, 11, 1), datetime(2026, 11, 1, 4, tzinfo=UTC), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), datetime(2026, 4, 4, 13, tzinfo=UTC), 24.5),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight(
    zone: str, day: date, starts_at: datetime, hours: float
) -> None:
    assert time_zones.day_bounds(day, zone) == (starts_at, starts_at + timedelta(hours=hours))
    assert time_zones.day_of(starts_at, zone) == day
    assert time_zones.day_of(starts_at - timedelta(seconds=1), zone) == day - time_zones.DAY


@pytest.mark.parametrize(
    ("zone", "hour", "is_over_at", "day"),
    [
        (BERLIN, 2, datetime(2026, 7, 1, 0, tzinfo=UTC), date(2026, 6, 30)),
        ("America/New_York", 2, datetime(2026, 3, 1, 7, tzinfo=UTC), date(2026, 2, 28)),
        ("America/New_York", 0, datetime(2028, 3, 1, 5, tzinfo=UTC), date(2028, 2, 29)),
        # There is no two o'clock: it is three at once.
        (BERLIN, 2, datetime(2026, 3, 29, 1, tzinfo=UTC), date(2026, 3, 28)),
        # Two o'clock comes twice: the first counts.
        (BERLIN, 2, datetime(2026, 10, 25, 0, tzinfo=UTC), date(2026, 10, 24)),
    ],
)
def test_a_day_is_over_when_the_hour_has_come(zone: str, hour: int, is_over_at: datetime, day: date) -> None:
    before = is_over_at - timedelta(seconds=1)
    assert time_zones.last_day_over(is_over_at, zone, hour) == day
    assert time_zones.last_day_over(before, zone, hour) == day - time_zones.DAY


def test_an_hour_that_comes_twice_makes_no_second_day() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert {time_zones.last_day_over(first + timedelta(hours=n), BERLIN, 2) for n in range(3)} == {
        date(2026, 10, 24)
    }


def test_an_unknown_zone_is_utc() -> None:
    assert time_zones.hour_of_day(date(2026, 1, 1), "Mars/Olympus", 5) == datetime(2026, 1, 1, 5, tzinfo=UTC)


def test_what_was_missed_is_caught_up_in_order() -> None:
    last, long_ago = date(2026, 3, 2), date(2020, 1, 1)
    done = {date(2026, 2, 26), date(2026, 3, 1)}
    assert missing_days(last, long_ago, done) == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 2)]
    assert missing_days(last, long_ago, {*done, last}) == [date(2026, 2, 27), date(2026, 2, 28)]


def test_no_more_is_caught_up_than_a_week() -> None:
    last = date(2026, 3, 10)
    missing = missing_days(last, date(2020, 1, 1), {date(2026, 3, 1)})
    assert len(missing) == CAUGHT_UP_DAYS
    assert missing[-1] == last


def test_the_first_night_is_the_last_one() -> None:
    last = date(2026, 3, 10)
    assert missing_days(last, date(2020, 1, 1), ()) == [last]
    assert missing_days(last, last, ()) == [last]
    assert missing_days(last, last + time_zones.DAY, ()) == []
