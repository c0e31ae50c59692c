"""When a van will arrive."""

from datetime import UTC, datetime, timedelta

import pytest

from core.rules.eta import eta, smooth_speed
from core.rules.geo import distance_m

AT = datetime(2026, 2, 28, 23, 50, tzinfo=UTC)
UTRECHT, AMSTERDAM = (52.0907, 5.1214), (52.3676, 4.9041)


def test_the_distance_is_the_great_circle_in_metres() -> None:
    assert distance_m(*UTRECHT, *AMSTERDAM) == pytest.approx(34_200, rel=0.01)
    assert distance_m(0, 179.9, 0, -179.9) == pytest.approx(22_239, rel=0.001)
    assert distance_m(*UTRECHT, *UTRECHT) == 0


def test_it_is_the_distance_with_detours_over_the_speed() -> None:
    expected_s = distance_m(*UTRECHT, *AMSTERDAM) * 1.3 / (60 / 3.6)
    arrival = eta(AT, *UTRECHT, 60.0, AMSTERDAM)
    assert arrival is not None
    assert (arrival - AT).total_seconds() == pytest.approx(expected_s, abs=1)


@pytest.mark.parametrize("speed_kmh", [None, 0.0, 3.0, 15.0])
def test_a_standing_van_still_arrives(speed_kmh: float | None) -> None:
    assert eta(AT, *UTRECHT, speed_kmh, AMSTERDAM) == eta(AT, *UTRECHT, 15.0, AMSTERDAM)


def test_a_van_at_the_door_has_arrived() -> None:
    assert eta(AT, *UTRECHT, 50.0, UTRECHT) == AT


def test_without_a_drop_off_there_is_none() -> None:
    assert eta(AT, *UTRECHT, 50.0, None) is None


def test_smoothing_spans_two_minutes_at_any_interval() -> None:
    assert smooth_speed(None, 50.0, 0.0) == 50.0
    assert smooth_speed(50.0, 0.0, 0.0) == 50.0
    one_step = smooth_speed(50.0, 0.0, 60.0)
    many = 50.0
    for _ in range(60):
        many = smooth_speed(many, 0.0, 1.0)
    assert many == pytest.approx(one_step)
    assert smooth_speed(50.0, 0.0, timedelta(hours=1).total_seconds()) == pytest.approx(0.0, abs=1e-9)
