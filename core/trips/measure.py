"""Measure a trip from a vehicle's fixes: distance, stops, speed over time, and the line to draw.

One pass in time order and bounded memory, whatever the number of fixes. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from core.rules.geo import distance_m
from core.trips.outliers import FASTEST_MPS, is_reachable, without_wild
from core.trips.simplification import simplified
from core.trips.speeds import SpeedStep, SpeedSteps
from core.trips.stops import Stop, StopFinder, longest

STEP_M = 10.0  # a parked receiver's jitter is not driving
LINE_POINTS = 1_500
FINEST_M = 2.0
COARSEST_M = 5_000.0
LONGEST_GAP = timedelta(minutes=5)  # between two fixes whose distance gives a speed
FASTEST_KMH = FASTEST_MPS * 3.6
Point = tuple[float, float]


class Sample(msgspec.Struct, frozen=True, gc=False):
    """The fields of a fix that a trip needs. ``speed_kmh`` is None where the device reported none."""

    at: datetime
    latitude: float
    longitude: float
    speed_kmh: float | None = None


class Drive(msgspec.Struct, frozen=True):
    """``lines`` has one per trip segment, each simplified for drawing; ``fixes`` counts all of them."""

    distance_m: float
    fixes: int
    stops: list[Stop]
    stops_left_out: int
    speeds: list[SpeedStep]
    lines: list[list[Point]]


class Odometer:
    """Sum up distances; moves shorter than `STEP_M` wait until they add up."""

    def __init__(self) -> None:
        self.distance_m = 0.0
        self._anchor: Point | None = None

    def restart(self) -> None:
        """Start anew: the next fix was not driven to."""
        self._anchor = None

    def add(self, latitude: float, longitude: float) -> None:
        if self._anchor is None:
            self._anchor = (latitude, longitude)
            return
        step = distance_m(*self._anchor, latitude, longitude)
        if step >= STEP_M:
            self.distance_m += step
            self._anchor = (latitude, longitude)


class Meter:
    """Measure a trip: `add` each segment in turn, then `drive` returns the totals."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._speeds = SpeedSteps(start, end)
        self._stops: list[Stop] = []
        self._lines: list[list[Point]] = []
        self._distance_m = 0.0
        self._fixes = 0

    def add(self, samples: Iterable[Sample]) -> None:
        """Measure one vehicle's fixes, in time order; ``samples`` is read once."""
        odometer, stops = Odometer(), StopFinder()
        line = _outline(self._watched(without_wild(samples), odometer, stops))
        self._stops += stops.stops()
        self._distance_m += odometer.distance_m - stops.wandered_m
        if line:
            self._lines.append(line)

    def drive(self) -> Drive:
        stops = longest(self._stops)
        return Drive(
            round(self._distance_m, 1),
            self._fixes,
            stops,
            len(self._stops) - len(stops),
            self._speeds.steps(),
            self._lines,
        )

    def _watched(self, samples: Iterable[Sample], odometer: Odometer, stops: StopFinder) -> Iterator[Sample]:
        """Yield the same samples, counted and measured as they pass."""
        before: Sample | None = None
        for sample in samples:
            self._fixes += 1
            if before is not None and not is_reachable(before, sample):
                odometer.restart()
            odometer.add(sample.latitude, sample.longitude)
            stops.add(sample.at, sample.latitude, sample.longitude, odometer.distance_m)
            if (speed_kmh := _speed_kmh(before, sample)) is not None:
                self._speeds.add(sample.at, speed_kmh)
            before = sample
            yield sample


def _speed_kmh(before: Sample | None, sample: Sample) -> float | None:
    """Return the device's speed, or else the speed from the previous fix, if that is recent and plausible."""
    if sample.speed_kmh is not None:
        return sample.speed_kmh
    if before is None or not timedelta(0) < sample.at - before.at <= LONGEST_GAP:
        return None
    metres = distance_m(before.latitude, before.longitude, sample.latitude, sample.longitude)
    speed_kmh = metres / (sample.at - before.at).total_seconds() * 3.6
    return speed_kmh if speed_kmh <= FASTEST_KMH else None


def _outline(samples: Iterable[Sample]) -> list[Point]:
    """Return at most `LINE_POINTS` points, as accurate as that number allows."""
    kept: list[Sample] = []
    tolerance_m = FINEST_M
    for sample in simplified(samples, tolerance_m):
        kept.append(sample)
        if len(kept) >= 2 * LINE_POINTS:
            kept, tolerance_m = _coarser(kept, tolerance_m)
    if len(kept) > LINE_POINTS:
        kept, _ = _coarser(kept, tolerance_m)
    return [(sample.latitude, sample.longitude) for sample in kept]


def _coarser(samples: Sequence[Sample], tolerance_m: float) -> tuple[list[Sample], float]:
    """Simplify to `LINE_POINTS`, with a doubled tolerance first and then by dropping every second point."""
    kept = list(samples)
    while len(kept) > LINE_POINTS:
        if tolerance_m < COARSEST_M:
            tolerance_m *= 2
            kept = list(simplified(kept, tolerance_m))
        else:
            kept = [*kept[:-1:2], kept[-1]]
    return kept, tolerance_m
