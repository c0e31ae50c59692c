"""The error bound of simplified tracks."""

from bisect import bisect
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, radians, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.geo import EARTH_RADIUS_M
from core.trips.simplification import simplified

METRES_PER_DEGREE = EARTH_RADIUS_M * pi / 180


@dataclass(frozen=True, eq=False)
class MapPoint:
    latitude: float
    longitude: float


def off_segment_m(place: MapPoint, start: MapPoint, end: MapPoint) -> float:
    """From a place to the nearest point of a segment, on the plane around its start."""
    shrink = cos(radians(start.latitude))

    def metres(of: MapPoint) -> tuple[float, float]:
        east = (of.longitude - start.longitude) * METRES_PER_DEGREE * shrink
        return east, (of.latitude - start.latitude) * METRES_PER_DEGREE

    (x, y), (to_x, to_y) = metres(place), metres(end)
    length = to_x**2 + to_y**2
    along = 0.0 if length == 0 else min(1.0, max(0.0, (x * to_x + y * to_y) / length))
    return hypot(x - along * to_x, y - along * to_y)


def worst_m(places: list[MapPoint], kept: list[MapPoint]) -> float:
    """The largest distance of a place to the segment between the kept ones around it."""
    order = {id(place): i for i, place in enumerate(places)}
    worst = 0.0
    for start, end in pairwise(kept):
        between = places[order[id(start)] + 1 : order[id(end)]]
        worst = max([worst, *(off_segment_m(place, start, end) for place in between)])
    return worst


def drive(angles: list[float], step_m: float) -> list[MapPoint]:
    """A walk from Berlin that turns by these angles (radians) before each step."""
    places, heading = [MapPoint(52.5, 13.4)], 0.0
    for angle in angles:
        heading += angle
        last = places[-1]
        north, east = step_m * cos(heading), step_m * sin(heading)
        places.append(
            MapPoint(
                last.latitude + north / METRES_PER_DEGREE,
                last.longitude + east / METRES_PER_DEGREE / cos(radians(last.latitude)),
            )
        )
    return places


angles = st.lists(st.one_of(st.floats(-0.2, 0.2), st.floats(-pi, pi)), max_size=60)


@given(angles, st.floats(1, 2_000), st.floats(1, 500))
def test_no_fix_left_out_is_farther_than_the_tolerance(
    angles: list[float], step_m: float, tolerance_m: float
) -> None:
    places = drive(angles, step_m)
    kept = list(simplified(places, tolerance_m))
    assert worst_m(places, kept) <= tolerance_m * 1.000001
    assert kept[0] is places[0]
    assert kept[-1] is places[-1]
    assert len({id(place) for place in kept}) == len(kept)


@given(st.lists(st.tuples(st.floats(-80, 80), st.floats(-180, 180)), max_size=30), st.floats(1, 10_000))
def test_leaps_over_the_globe_are_kept(places: list[tuple[float, float]], tolerance_m: float) -> None:
    track = [MapPoint(*place) for place in places]
    kept = list(simplified(track, tolerance_m))
    assert worst_m(track, kept) <= tolerance_m * 1.000001


def test_a_straight_road_is_its_ends_and_a_parked_van_two_points() -> None:
    road = drive([0.0] * 500, 10)
    assert len(list(simplified(road, 5))) == 2
    standing = [MapPoint(52.5 + 0.00002 * (i % 3), 13.4) for i in range(500)]
    assert len(list(simplified(standing, 10))) == 2


def test_a_way_there_and_back_keeps_its_far_end() -> None:
    there = drive([0.0] * 100, 10)
    kept = list(simplified([*there, *there[-2::-1]], 15))
    assert any(place is there[-1] or abs(place.latitude - there[-1].latitude) < 0.0002 for place in kept)
    assert len(kept) < 10


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_stay_as_they_are(count: int) -> None:
    places = drive([0.0, 0.0], 100)[:count]
    assert list(simplified(places, 50)) == places


def test_without_a_tolerance_all_stay() -> None:
    places = drive([0.0] * 10, 10)
    assert list(simplified(places, 0)) == places


def test_a_segment_is_no_longer_than_its_projection_is_right() -> None:
    places = drive([0.0] * 100, 1_000)
    kept = list(simplified(places, 50))
    steps = [bisect(places, place.latitude, key=lambda one: one.latitude) for place in kept]
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 20


def test_places_too_far_apart_are_kept_once_each() -> None:
    places = drive([0.0] * 4, 50_000)
    assert list(simplified(places, 50)) == places
