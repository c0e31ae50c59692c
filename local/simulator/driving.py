"""A van with a GPS unit: pure functions of (state, seconds, random numbers) to the next state.

No clock and no network: the caller passes the elapsed time, and decides what happens to the readings.
"""

from datetime import datetime
from math import exp, sin, sqrt
from random import Random

import msgspec

from local.simulator import city, routes, street_graph
from local.simulator.trips import Trip, plan

NOISE_MEMORY_S = 25.0
SIGMA_M = (1.5, 5.0)
SIGMA_STEP_M = 0.15
ACCURACY_PER_SIGMA = 1.5  # the radius that contains 68 % of a plane's readings
NOISE_LIMIT = 3.0
CHARGE_PERCENT_S = 0.02
DRAIN_PERCENT_S = 0.004
SPEED_NOISE_KMH = 0.4
MOVING_MPS = 0.5
PARKED_S = (20.0, 60.0)
ROUTE_M = (1_200.0, 9_000.0)
PARKING_MANOEUVRE_M = 3.0


class Reading(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One fix in the fields of the native ``location`` format."""

    fix_time: datetime
    latitude: float
    longitude: float
    speed_kmh: float
    course_deg: float
    altitude_m: float
    accuracy_m: float
    battery_percent: float
    ignition: bool
    odometer_m: float
    id: str


class SimulatedVan(msgspec.Struct, frozen=True):
    """A van on its trip, with the error of its GPS receiver (metres) and its meters' counts."""

    trip: Trip
    elapsed_s: float
    driven_m: float
    speed_mps: float
    course_deg: float
    place: routes.Place
    error: routes.Place
    sigma_m: float
    odometer_m: float
    battery_percent: float
    in_tunnel: bool
    readings: int

    @property
    def is_parked(self) -> bool:
        """Return whether the engine is off: the van has arrived, or has not left yet."""
        return self.elapsed_s >= self.trip.driving_s

    @property
    def is_done(self) -> bool:
        return self.elapsed_s >= self.trip.duration_s


def new_van(trip: Trip, rng: Random) -> SimulatedVan:
    """Return a van at its trip's start, about to leave."""
    sigma_m = rng.uniform(*SIGMA_M)
    return SimulatedVan(
        trip=trip,
        elapsed_s=0.0,
        driven_m=0.0,
        speed_mps=0.0,
        course_deg=trip.route.pieces[0].course_deg,
        place=routes.place_on(trip.route.pieces[0], 0.0),
        error=(_bounded(rng.gauss(0, sigma_m), sigma_m), _bounded(rng.gauss(0, sigma_m), sigma_m)),
        sigma_m=sigma_m,
        odometer_m=round(rng.uniform(5e6, 2e8), 1),
        battery_percent=round(rng.uniform(60, 100), 1),
        in_tunnel=False,
        readings=0,
    )


def depart(van: SimulatedVan, trip: Trip) -> SimulatedVan:
    """Return the same van on another trip, which should start where it stands."""
    return msgspec.structs.replace(van, trip=trip, elapsed_s=0.0, driven_m=0.0, speed_mps=0.0)


def advance(van: SimulatedVan, dt_s: float, rng: Random) -> SimulatedVan:
    """Return the van ``dt_s`` seconds later on the same trip; standing still at its end."""
    elapsed_s = van.elapsed_s + dt_s
    driven_m, speed_mps = van.trip.at(elapsed_s)
    piece = van.trip.route.piece_at(driven_m)
    sigma_m = min(max(van.sigma_m + rng.uniform(-SIGMA_STEP_M, SIGMA_STEP_M), SIGMA_M[0]), SIGMA_M[1])
    charge = CHARGE_PERCENT_S if elapsed_s < van.trip.driving_s else -DRAIN_PERCENT_S
    return SimulatedVan(
        trip=van.trip,
        elapsed_s=elapsed_s,
        driven_m=driven_m,
        speed_mps=speed_mps,
        # A standing receiver cannot measure a course and repeats its last one.
        course_deg=piece.course_deg if speed_mps > MOVING_MPS else van.course_deg,
        place=routes.place_on(piece, driven_m),
        error=_drift(van.error, sigma_m, dt_s, rng),
        sigma_m=sigma_m,
        odometer_m=van.odometer_m + driven_m - van.driven_m,
        battery_percent=min(100.0, max(5.0, van.battery_percent + charge * dt_s)),
        in_tunnel=piece.tunnel,
        readings=van.readings,
    )


def read(van: SimulatedVan, now: datetime, rng: Random) -> tuple[SimulatedVan, Reading]:
    """Return the GPS unit's reading; ``now`` is the unit's clock."""
    east_m, north_m = van.place
    latitude, longitude = routes.to_degrees(east_m + van.error[0], north_m + van.error[1])
    speed_kmh = van.speed_mps * 3.6
    if speed_kmh > 1.0:
        speed_kmh = max(0.0, speed_kmh + rng.uniform(-SPEED_NOISE_KMH, SPEED_NOISE_KMH))
    number = van.readings + 1
    reading = Reading(
        fix_time=now,
        latitude=round(latitude, 7),
        longitude=round(longitude, 7),
        speed_kmh=round(speed_kmh, 1),
        course_deg=round(van.course_deg, 1) % 360,
        altitude_m=round(_altitude_m(east_m, north_m), 1),
        accuracy_m=round(van.sigma_m * ACCURACY_PER_SIGMA, 1),
        battery_percent=round(van.battery_percent, 1),
        ignition=not van.is_parked,
        odometer_m=round(van.odometer_m, 1),
        id=str(number),
    )
    return msgspec.structs.replace(van, readings=number), reading


def transmit(
    held: tuple[Reading, ...], reading: Reading, in_tunnel: bool
) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
    """Return (held, sent): in a tunnel all fixes are held, outside all held fixes leave at once."""
    if in_tunnel:
        return (*held, reading), ()
    return (), (*held, reading)


def random_trip(rng: Random, start: str | None = None) -> Trip:
    """Return a trip from a junction (any, by default) to a drop-off at a van's usual distance."""
    names = sorted(city.JUNCTIONS)
    start = start or rng.choice(names)
    while True:
        end = rng.choice(names)
        if end == start:
            continue
        route = routes.along(street_graph.quickest_way(start, end))
        if ROUTE_M[0] <= route.length_m <= ROUTE_M[1]:
            return plan(route, rng, parked_s=rng.uniform(*PARKED_S))


def trip_to(van: SimulatedVan, latitude: float, longitude: float, rng: Random, parked_s: float = 0.0) -> Trip:
    """Return a trip from the van's place over side streets to and from the nearest junctions.

    Raises `ValueError` when the van is already there.
    """
    here, there = routes.to_degrees(*van.place), (latitude, longitude)
    way = street_graph.quickest_way(city.nearest_junction(*here)[0], city.nearest_junction(*there)[0])
    return plan(routes.along(way, here, there), rng, parked_s)


def parked_at(
    latitude: float, longitude: float, rng: Random, odometer_m: float | None = None
) -> SimulatedVan:
    """Return a van that has just parked there. Without ``odometer_m`` it has a random mileage."""
    north = latitude + PARKING_MANOEUVRE_M / routes.METRES_PER_DEGREE
    trip = plan(routes.along((), (north, longitude), (latitude, longitude)), rng)
    van = advance(new_van(trip, rng), trip.duration_s, rng)
    return van if odometer_m is None else msgspec.structs.replace(van, odometer_m=odometer_m)


def next_trip(van: SimulatedVan, rng: Random) -> Trip:
    """Return a random trip from the van's place."""
    junction, _ = city.nearest_junction(*routes.to_degrees(*van.place))
    return random_trip(rng, junction)


def _drift(error: routes.Place, sigma_m: float, dt_s: float, rng: Random) -> routes.Place:
    """Return the next error of a receiver (Gauss-Markov): successive readings err alike."""
    keep = exp(-dt_s / NOISE_MEMORY_S)
    fresh_m = sigma_m * sqrt(1 - keep * keep)
    return (
        _bounded(error[0] * keep + rng.gauss(0, fresh_m), sigma_m),
        _bounded(error[1] * keep + rng.gauss(0, fresh_m), sigma_m),
    )


def _bounded(error_m: float, sigma_m: float) -> float:
    return min(max(error_m, -NOISE_LIMIT * sigma_m), NOISE_LIMIT * sigma_m)


def _altitude_m(east_m: float, north_m: float) -> float:
    """Return a rough altitude in metres, as of Lisbon's hills."""
    return 55.0 + 30.0 * sin(east_m / 900.0) + 20.0 * sin(north_m / 700.0)
