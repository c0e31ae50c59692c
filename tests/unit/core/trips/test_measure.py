"""Distance, stops, speed and outline from fixes alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest

from core.rules.geo import distance_m
from core.trips.measure import LINE_POINTS, Drive, Meter, Sample
from core.trips.speeds import MAXIMUM_STEPS
from core.trips.stops import MAXIMUM_STOPS, longest
from tests.support.tracks import travelled_m

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
METRE = 1 / 111_195


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def sample(seconds: float, north_m: float, speed_kmh: float | None = None) -> Sample:
    return Sample(at(seconds), 52.5 + north_m * METRE, 13.4, speed_kmh)


def measured(*parts: list[Sample], until: float = 3600) -> Drive:
    meter = Meter(NOON, at(until))
    for part in parts:
        meter.add(part)
    return meter.drive()


def driving(start: float, seconds: int, from_m: float = 0, mps: float = 10) -> list[Sample]:
    return [sample(start + s, from_m + mps * s) for s in range(0, seconds, 5)]


def standing(start: float, seconds: int, at_m: float) -> list[Sample]:
    """A receiver that wanders a little."""
    return [sample(start + s, at_m + (s % 3) * 4) for s in range(0, seconds, 10)]


def test_standing_for_minutes_is_a_stop_and_a_red_light_is_not() -> None:
    drive = measured(
        [
            *driving(0, 300),
            *standing(300, 60, 3000),
            *driving(360, 300, 3000),
            *standing(660, 400, 6000),
            *driving(1060, 300, 6000),
        ]
    )
    (stop,) = drive.stops
    assert stop.start == at(660)
    assert stop.seconds == pytest.approx(395, abs=15)
    assert distance_m(stop.latitude, stop.longitude, 52.5 + 6000 * METRE, 13.4) < 10
    assert drive.distance_m == pytest.approx(9000, rel=0.02)


def test_one_outlier_does_not_make_two_stops_of_one() -> None:
    wild = sample(300, 900)
    drive = measured([*standing(0, 300, 0), wild, *standing(310, 300, 0)])
    assert [round(stop.seconds / 60) for stop in drive.stops] == [10]


def test_receiver_that_sleeps_while_parked_stood_there() -> None:
    drive = measured([*driving(0, 100), sample(100, 1000), sample(2000, 1300), *driving(2005, 100, 1350)])
    (stop,) = drive.stops
    assert stop.start == at(100)
    assert abs(stop.end - at(2000 - 300 / 8)) < timedelta(seconds=1)


def test_silence_while_driving_is_no_stop() -> None:
    assert measured([sample(0, 0), sample(600, 9000), sample(605, 9050)]).stops == []


def test_vehicles_parts_are_not_joined() -> None:
    drive = measured(driving(0, 100), driving(200, 100, from_m=50_000))
    assert drive.distance_m == pytest.approx(1900, rel=0.02)
    assert len(drive.lines) == 2
    assert drive.fixes == 40


def test_longest_stops_are_kept_in_order_of_time() -> None:
    stops = measured([*standing(0, 400, 0), *standing(500, 200, 1000), *standing(800, 600, 2000)]).stops
    assert [stop.start for stop in longest(stops, 2)] == [at(0), at(800)]
    many = [one for i in range(MAXIMUM_STOPS + 5) for one in standing(i * 200, 199, i * 500)]
    drive = measured(many, until=200 * len(many))
    assert (len(drive.stops), drive.stops_left_out) == (MAXIMUM_STOPS, 5)


def test_speed_is_reported_or_computed_and_its_steps_are_few() -> None:
    steps = measured([sample(0, 0, 50.0), sample(10, 10, 30.0)], until=15).speeds
    assert [(step.average_kmh, step.maximum_kmh) for step in steps] == [(40.0, 50.0)]
    reckoned = measured([sample(0, 0), sample(10, 100)], until=15).speeds
    assert [step.average_kmh for step in reckoned] == [pytest.approx(36, abs=0.1)]
    many = measured([sample(s, s, 36.0) for s in range(0, 36_000, 5)], until=36_000).speeds
    assert len(many) == MAXIMUM_STEPS


def test_speed_of_a_silence_or_a_leap_is_not_known() -> None:
    assert measured([sample(0, 0), sample(400, 4000)]).speeds == []
    assert measured([sample(0, 0), sample(1, 5000)]).speeds == []


def test_line_stays_short_and_close_whatever_the_number_of_fixes() -> None:
    zigzag = [Sample(at(s), 52 + s * 1e-4, 13 + (s % 2) * 1e-3) for s in range(20_000)]
    (line,) = measured(zigzag, until=20_000).lines
    assert 2 <= len(line) <= LINE_POINTS
    assert line[0] == (zigzag[0].latitude, zigzag[0].longitude)
    assert line[-1] == (zigzag[-1].latitude, zigzag[-1].longitude)


def test_leaps_around_the_world_end_too() -> None:
    leaps = [Sample(at(s), 50.0 if s % 2 else -50.0, (s * 37) % 360 - 180.0) for s in range(9_000)]
    assert len(measured(leaps, until=9_000).lines[0]) <= LINE_POINTS


def test_steps_of_a_parked_receiver_add_up_only_when_it_moves() -> None:
    points = [(52.5 + i * METRE, 13.4) for i in range(101)]
    assert travelled_m(points) == pytest.approx(100, abs=10)
    assert all(distance_m(*a, *b) < 10 for a, b in pairwise(points))


def elsewhere(seconds: float, latitude: float = 48.1, longitude: float = 11.6) -> Sample:
    return Sample(at(seconds), latitude, longitude)


def reach(drive: Drive) -> float:
    """How far from where it began the drawn line comes, in degrees."""
    first = drive.lines[0][0]
    return max(abs(latitude - first[0]) + abs(longitude - first[1]) for latitude, longitude in drive.lines[0])


@pytest.mark.parametrize("place", [0, 1, 60, 118, 119])
@pytest.mark.parametrize("count", [1, 3])
def test_a_jump_to_another_town_and_back_is_neither_driven_nor_drawn(place: int, count: int) -> None:
    fixes = driving(0, 600)
    fixes[place : place + count] = [
        elsewhere(5 * (place + number)) for number in range(min(count, 120 - place))
    ]
    drive = measured(fixes)
    assert drive.distance_m == pytest.approx(5950, abs=50 * (count + 1))
    assert reach(drive) < 0.1
    assert all(step.maximum_kmh < 50 for step in drive.speeds)


def test_a_lasting_leap_is_believed_and_its_way_is_not_counted() -> None:
    drive = measured([*driving(0, 600), *(elsewhere(600 + 5 * n, 48.1 + n * 50 * METRE) for n in range(120))])
    assert drive.distance_m == pytest.approx(2 * 5950, rel=0.02)
    assert drive.lines[0][-1][0] == pytest.approx(48.1 + 119 * 50 * METRE)


def test_leap_over_a_long_silence_is_driven() -> None:
    drive = measured([*driving(0, 100), *driving(3600, 100, from_m=60_000)], until=7200)
    assert drive.distance_m == pytest.approx(60_950, rel=0.02)


def test_a_single_fix_is_all_there_is_to_draw() -> None:
    assert measured([sample(0, 0)]).lines == [[(52.5, 13.4)]]


def test_who_crawls_in_a_jam_still_moves_on() -> None:
    drive = measured([sample(s, s * 0.1) for s in range(0, 10_000, 5)], until=10_000)
    assert drive.distance_m == pytest.approx(1000, rel=0.05)


def test_who_stands_all_day_has_driven_nothing() -> None:
    """However a receiver between houses wanders, and also when one fix lies far off."""
    wander = Random(7)
    fixes = [sample(s, wander.gauss(0, 8)) for s in range(600, 36_000, 10)]
    fixes[1000] = sample(10_600, 300)
    drive = measured([*driving(0, 600, -6000), *fixes, *driving(36_000, 600)], until=40_000)
    assert drive.distance_m == pytest.approx(12_000, rel=0.03)
    assert len(drive.stops) == 1
