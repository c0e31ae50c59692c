"""A made-up round of a van: fixes as its receiver would send them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import cos, radians
from random import Random

from core.rules.geo import distance_m
from core.trips.measure import Sample

Point = tuple[float, float]
STEP_S = 5.0
# Westhafen, Moabit, Mitte, Friedrichshain, Kreuzberg, Neukölln; a number: minutes of pause there.
ROUND: tuple[Point | float, ...] = (
    (52.53630, 13.34280), 11.0, (52.53700, 13.34900), (52.53610, 13.35390), (52.53160, 13.34300),
    (52.52760, 13.34160), 5.5, (52.52640, 13.34290), (52.52620, 13.35120), (52.52560, 13.35700),
    (52.52390, 13.36500), (52.52560, 13.36930), (52.52830, 13.37830), (52.53030, 13.38450),
    (52.52960, 13.40140), 4.0, (52.52830, 13.40700), (52.52850, 13.41080), (52.52480, 13.41170),
    (52.52170, 13.41330), (52.52260, 13.41710), (52.51990, 13.42220), (52.51850, 13.42890),
    (52.51720, 13.43520), 8.5, (52.51640, 13.44150), (52.51560, 13.45390), (52.51020, 13.45240),
    (52.50650, 13.45060), (52.50180, 13.44570), (52.50010, 13.44120), (52.49900, 13.43330),
    (52.49910, 13.41830), (52.49500, 13.42050), (52.49170, 13.42320), (52.48720, 13.42490),
    (52.48620, 13.42940),
)  # fmt: skip
PICKUP, DROPOFF = (52.53630, 13.34280), (52.48620, 13.42940)


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # traffic, no secret


def drive(route: Sequence[Point | float], start: datetime, rng: Random) -> Iterator[Sample]:
    """Yield a fix every few seconds: town traffic with red lights, a wandering receiver at stops."""
    at, here = start, PICKUP
    for place in route:
        if isinstance(place, float):
            for sample in standing(Sample(at, *here, 0.0), at + timedelta(minutes=place), rng):
                yield sample
                at = sample.at
            continue
        for sample in _along(here, place, at, rng):
            yield sample
            at = sample.at
        here = place
        if rng.random() < 0.5:
            at += timedelta(seconds=STEP_S)
            for sample in standing(Sample(at, *here, 0.0), at + timedelta(seconds=rng.uniform(15, 70)), rng):
                yield sample
                at = sample.at


def _along(here: Point, there: Point, at: datetime, rng: Random) -> Iterator[Sample]:
    """Return the place along two bends, as streets have them: faster in the middle than at the ends."""
    bends = [here, _beside(here, there, 0.35, rng), _beside(here, there, 0.7, rng), there]
    total = sum(distance_m(*a, *b) for a, b in pairwise(bends))
    done, top = 0.0, rng.uniform(34, 52)
    for a, b in pairwise(bends):
        length, along = distance_m(*a, *b), 0.0
        while along < length:
            edge = min(done + along, total - done - along)
            speed_kmh = min(top, 14 + edge / 4) * rng.uniform(0.9, 1.1)
            at += timedelta(seconds=STEP_S)
            share = along / length
            yield Sample(at, a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), round(speed_kmh, 1))
            along += speed_kmh / 3.6 * STEP_S
        done += length


def _beside(here: Point, there: Point, share: float, rng: Random) -> Point:
    north, east = there[0] - here[0], (there[1] - here[1]) * cos(radians(here[0]))
    off = rng.uniform(-0.05, 0.05)
    latitude = here[0] + share * north + off * east
    return latitude, here[1] + (share * east - off * north) / cos(radians(here[0]))


def standing(last: Sample, until: datetime, rng: Random | None = None) -> Iterator[Sample]:
    rng, at = rng or seeded(1), last.at
    while (at := at + timedelta(seconds=STEP_S * 3)) < until:
        yield Sample(at, last.latitude + rng.gauss(0, 2e-5), last.longitude + rng.gauss(0, 3e-5), 0.0)
