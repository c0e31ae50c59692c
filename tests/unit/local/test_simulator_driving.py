"""Vans on their routes: what a GPS unit says must look like a drive."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import atan2, degrees, dist, hypot
from random import Random

import pytest

from core.rules.geo import distance_m
from local.simulator import city, driving, routes, street_graph
from local.simulator.driving import Reading, SimulatedVan
from local.simulator.routes import Route
from local.simulator.simulation import next_due
from local.simulator.trips import SLOW_DOWN_MPS2, SPEED_UP_MPS2, Trip, plan

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
THROUGH_THE_TUNNEL = ("Amoreiras", "Saldanha")


def trip_between(start: str, end: str, seed: int = 1) -> Trip:
    return plan(routes.along(street_graph.quickest_way(start, end)), Random(seed), parked_s=30.0)


def drive(trip: Trip, seed: int = 1, step_s: float = 1.0) -> Iterator[tuple[SimulatedVan, Reading]]:
    """Every step from the start to the end of the parking."""
    rng = Random(seed)
    van, now = driving.new_van(trip, rng), START
    while not van.is_done:
        now += timedelta(seconds=step_s)
        van, reading = driving.read(driving.advance(van, step_s, rng), now, rng)
        yield van, reading


def metres_from(route: Route, place: routes.Place) -> float:
    """To the nearest point of the route."""
    return min(metres_from_piece(piece, place) for piece in route.pieces)


def metres_from_piece(piece: routes.Piece, place: routes.Place) -> float:
    along = (piece.to_east_m - piece.east_m, piece.to_north_m - piece.north_m)
    to_place = (place[0] - piece.east_m, place[1] - piece.north_m)
    share = (along[0] * to_place[0] + along[1] * to_place[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(max(share, 0.0), 1.0)
    return hypot(to_place[0] - along[0] * share, to_place[1] - along[1] * share)


@pytest.fixture(params=range(6), ids="seed{}".format)
def trip(request: pytest.FixtureRequest) -> Trip:
    return driving.random_trip(Random(request.param))


def test_every_junction_can_be_reached_from_every_other() -> None:
    reached = {
        (a, b) for a in city.JUNCTIONS for b in city.JUNCTIONS if a != b and street_graph.quickest_way(a, b)
    }
    assert len(reached) == len(city.JUNCTIONS) * (len(city.JUNCTIONS) - 1)


def test_speed_never_passes_the_limit_of_the_street(trip: Trip) -> None:
    for van, _ in drive(trip):
        assert 0.0 <= van.speed_mps <= trip.route.piece_at(van.driven_m).limit_mps + 1e-6


def test_speed_changes_as_a_van_can(trip: Trip) -> None:
    speeds = [0.0, *(van.speed_mps for van, _ in drive(trip))]
    assert max(after - before for before, after in pairwise(speeds)) <= SPEED_UP_MPS2 + 1e-6
    assert min(after - before for before, after in pairwise(speeds)) >= -SLOW_DOWN_MPS2 - 1e-6


def test_the_whole_route_is_driven_and_counted(trip: Trip) -> None:
    vans = [van for van, _ in drive(trip)]
    assert vans[-1].driven_m == pytest.approx(trip.route.length_m)
    first_m = driving.new_van(trip, Random(1)).odometer_m
    assert vans[-1].odometer_m - first_m == pytest.approx(trip.route.length_m)


def test_speed_agrees_with_motion(trip: Trip) -> None:
    vans = [van for van, _ in drive(trip, step_s=0.5)]
    for before, after in pairwise(vans):
        mean_mps = (before.speed_mps + after.speed_mps) / 2
        assert (after.driven_m - before.driven_m) / 0.5 == pytest.approx(mean_mps, abs=1.0)


def test_course_agrees_with_motion(trip: Trip) -> None:
    for before, after in pairwise(van for van, _ in drive(trip)):
        on_one_piece = trip.route.piece_at(before.driven_m) is trip.route.piece_at(after.driven_m)
        if on_one_piece and after.speed_mps > 1.0:
            east_m, north_m = after.place[0] - before.place[0], after.place[1] - before.place[1]
            turned = (after.course_deg - degrees(atan2(east_m, north_m)) + 180) % 360 - 180
            assert abs(turned) < 0.5


def test_corners_are_taken_slowly() -> None:
    trip = trip_between("Santos", "Camões")
    corners = [piece.limit_mps for piece in trip.route.pieces if piece.length_m < routes.CORNER_M]
    assert min(corners) * 3.6 < 25


def test_readings_stay_on_the_route_within_the_noise_they_admit(trip: Trip) -> None:
    for van, reading in drive(trip):
        off_m = metres_from(trip.route, routes.to_plane(reading.latitude, reading.longitude))
        limit_m = driving.NOISE_LIMIT * driving.SIGMA_M[1] * 2**0.5
        assert off_m <= limit_m
        assert reading.accuracy_m == pytest.approx(van.sigma_m * driving.ACCURACY_PER_SIGMA, abs=0.1)


def test_noise_is_as_large_as_its_accuracy_says_and_wanders() -> None:
    trip = trip_between("Belém", "Oriente")
    errors = [(dist(van.error, (0, 0)), reading.accuracy_m, van.error) for van, reading in drive(trip)]
    within = sum(error_m <= accuracy_m for error_m, accuracy_m, _ in errors) / len(errors)
    assert 0.5 < within < 0.9
    steps = [dist(before[2], after[2]) for before, after in pairwise(errors)]
    assert sum(steps) / len(steps) < sum(error[0] for error in errors) / len(errors) / 2


def test_the_engine_runs_at_red_lights_and_is_off_at_the_drop_off() -> None:
    trip = trip_between("Belém", "Oriente")
    readings = [(van, reading) for van, reading in drive(trip)]
    waits = [reading for van, reading in readings if van.speed_mps == 0 and not van.is_parked]
    assert len(waits) > 5
    assert all(reading.ignition and reading.speed_kmh == 0 for reading in waits)
    assert {reading.ignition for van, reading in readings if van.is_parked} == {False}


def test_the_same_seed_gives_the_same_drive() -> None:
    first = [reading for _, reading in drive(driving.random_trip(Random(7)), seed=3)]
    again = [reading for _, reading in drive(driving.random_trip(Random(7)), seed=3)]
    other = [reading for _, reading in drive(driving.random_trip(Random(7)), seed=4)]
    assert first == again
    assert first != other


def test_the_step_does_not_change_the_drive() -> None:
    trip = trip_between("Rato", "Areeiro")
    coarse = {van.elapsed_s: van.place for van, _ in drive(trip, step_s=2.0)}
    fine = {van.elapsed_s: van.place for van, _ in drive(trip, step_s=0.5)}
    assert all(fine[elapsed_s] == coarse[elapsed_s] for elapsed_s in coarse if elapsed_s in fine)


def test_the_next_trip_starts_where_the_last_ended() -> None:
    rng = Random(5)
    van = driving.new_van(driving.random_trip(rng), rng)
    van = driving.advance(van, van.trip.duration_s, rng)
    next_trip = driving.next_trip(van, rng)
    departed = driving.advance(driving.depart(van, next_trip), 0.0, rng)
    assert dist(van.place, departed.place) < 1.0
    assert departed.odometer_m == van.odometer_m


def test_a_tunnel_gives_a_gap_and_then_one_array() -> None:
    held: tuple[Reading, ...] = ()
    sent = []
    for van, reading in drive(trip_between(*THROUGH_THE_TUNNEL)):
        held, ready = driving.transmit(held, reading, van.in_tunnel)
        sent.append(ready)
        assert not (van.in_tunnel and ready)
    arrays = [ready for ready in sent if len(ready) > 1]
    gap = [ready for ready in sent if not ready]
    assert len(arrays) == 1
    assert len(arrays[0]) == len(gap) + 1 > 30
    times = [reading.fix_time for ready in sent for reading in ready]
    assert times == sorted(times)
    assert len(times) == len(sent)


def test_a_route_may_start_and_end_beside_the_streets() -> None:
    start, end = (38.7230, -9.1520), (38.7440, -9.1400)
    first, last = city.nearest_junction(*start)[0], city.nearest_junction(*end)[0]
    route = routes.along(street_graph.quickest_way(first, last), start, end)
    assert distance_m(*start, *routes.to_degrees(*routes.place_on(route.pieces[0], 0.0))) < 1
    assert distance_m(*end, *routes.to_degrees(*routes.place_on(route.pieces[-1], route.length_m))) < 1


def test_a_route_to_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="two places"):
        routes.along(())


@pytest.mark.parametrize(("now", "expected"), [(10.0, 10.5), (10.4, 10.5), (10.5, 11.0), (17.0, 17.5)])
def test_who_is_late_leaves_out_what_it_missed(now: float, expected: float) -> None:
    assert next_due(10.0, 0.5, now) == expected
