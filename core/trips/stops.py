"""Find a vehicle's stops in one pass over its fixes and in constant memory. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from core.rules.geo import degrees_east, distance_m, wrapped

RADIUS_M = 40.0  # a parked receiver wanders about as far between buildings
LEAST = timedelta(minutes=3)  # shorter ones are traffic lights
MERGE_M = 75.0
MERGE_WITHIN = timedelta(minutes=2)
MAXIMUM_STOPS = 100
_SETTLED = 100  # fixes after which the centre hardly moves any more
_CRAWL_MPS = 1.0  # slower over minutes means that the vehicle stood and its receiver slept
_TOWN_MPS = 8.0


class Stop(msgspec.Struct, frozen=True):
    """``latitude`` and ``longitude`` are the centre of the stop's fixes."""

    start: datetime
    end: datetime
    latitude: float
    longitude: float

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A fix within a stop, and the odometer's reading there."""

    latitude: float
    longitude: float
    odometer_m: float


class StopFinder:
    """Find stops in one vehicle's fixes, added in time order.

    ``wandered_m`` is the distance that an odometer counted within the stops so far, without any driving.
    """

    def __init__(self) -> None:
        self.wandered_m = 0.0
        self._found: list[Stop] = []
        self._came = self._stayed = self._left = Mark(0.0, 0.0, 0.0)
        self._start: datetime | None = None
        self._end = datetime.min.replace(tzinfo=UTC)
        self._latitude = self._longitude = 0.0
        self._fixes = 0

    def add(self, at: datetime, latitude: float, longitude: float, odometer_m: float = 0.0) -> None:
        if self._start is None:
            self._begin(at, Mark(latitude, longitude, odometer_m))
            return
        distance = distance_m(self._latitude, self._longitude, latitude, longitude)
        if distance <= RADIUS_M:
            self._stay(at, Mark(latitude, longitude, odometer_m))
            return
        silence = (at - self._end).total_seconds()
        if silence >= LEAST.total_seconds() and distance < silence * _CRAWL_MPS:
            self._end = at - timedelta(seconds=distance / _TOWN_MPS)
        self._close()
        self._begin(at, Mark(latitude, longitude, odometer_m))

    def stops(self) -> list[Stop]:
        """Return all stops, including one that still lasts."""
        if self._start is not None:
            self._close()
            self._start = None
        return self._found

    def _begin(self, at: datetime, mark: Mark) -> None:
        self._start = self._end = at
        self._came = self._stayed = mark
        self._latitude, self._longitude, self._fixes = mark.latitude, mark.longitude, 1

    def _stay(self, at: datetime, mark: Mark) -> None:
        self._end, self._stayed = at, mark
        self._fixes = min(self._fixes + 1, _SETTLED)
        self._latitude += (mark.latitude - self._latitude) / self._fixes
        self._longitude = wrapped(
            self._longitude + degrees_east(self._longitude, mark.longitude) / self._fixes
        )

    def _close(self) -> None:
        if self._start is None or self._end - self._start < LEAST:
            return
        stop, since = Stop(self._start, self._end, self._latitude, self._longitude), self._came
        if self._found and _is_one(self._found[-1], stop):
            before, since = self._found.pop(), self._left
            stop = Stop(before.start, stop.end, before.latitude, before.longitude)
        self.wandered_m += _wandered_m(since, self._stayed)
        self._left = self._stayed
        self._found.append(stop)


def longest(stops: Sequence[Stop], maximum: int = MAXIMUM_STOPS) -> list[Stop]:
    """Return the ``maximum`` longest stops, in time order."""
    chosen = sorted(stops, key=lambda stop: stop.seconds, reverse=True)[:maximum]
    return sorted(chosen, key=lambda stop: stop.start)


def _wandered_m(since: Mark, until: Mark) -> float:
    """Return the distance beyond the straight line: a vehicle that crawls in a jam does move on."""
    straight_m = distance_m(since.latitude, since.longitude, until.latitude, until.longitude)
    return max(0.0, until.odometer_m - since.odometer_m - straight_m)


def _is_one(before: Stop, after: Stop) -> bool:
    """Return whether two stops are one that a single outlier split."""
    is_near = distance_m(before.latitude, before.longitude, after.latitude, after.longitude) <= MERGE_M
    return is_near and after.start - before.end <= MERGE_WITHIN
