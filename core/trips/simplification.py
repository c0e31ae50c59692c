"""Line simplification in one pass and constant memory.

Guarantee: every dropped point is within the tolerance of the straight segment (in degrees, as maps draw it)
between the kept points around it; the first and the last point are kept. Metres are measured on a plane
around the segment's start, and no point is dropped from a segment longer than 20 km, which keeps them within
2 % up to 80° of latitude.

The method is sleeve-fitting (Zhao and Saalfeld, 1997): a segment may end wherever its direction passes all
points since its start closely enough, for which one interval of angles is sufficient state.
"""

from collections.abc import Iterable, Iterator
from math import asin, atan2, cos, hypot, pi, radians
from typing import Protocol, TypeVar

from core.rules.geo import EARTH_RADIUS_M, degrees_east

MAXIMUM_SEGMENT_M = 20_000.0


class Point(Protocol):
    @property
    def latitude(self) -> float: ...
    @property
    def longitude(self) -> float: ...


Located = TypeVar("Located", bound=Point)


class _Sleeve:
    """The directions in which a segment from ``start`` passes every point so far within the tolerance."""

    def __init__(self, start: Point, tolerance_m: float) -> None:
        self._start = start
        self._tolerance_m = tolerance_m
        self._metres_per_degree = EARTH_RADIUS_M * pi / 180
        self._shrink = cos(radians(start.latitude))
        self._farthest_m = 0.0
        self._middle: float | None = None  # the direction from which the interval is measured
        self._low = self._high = 0.0

    def begins_with(self, point: Point) -> bool:
        return point is self._start

    def takes(self, point: Point) -> bool:
        """Return whether the segment may end here; if so, later ends must pass this point too."""
        east, north = self._metres(point)
        distance = hypot(east, north)
        # Must not be nearer than an earlier point, which might then be beyond the segment's end.
        if distance < self._farthest_m or distance > MAXIMUM_SEGMENT_M:
            return False
        if distance <= self._tolerance_m:
            return True
        direction, spread = atan2(east, north), asin(self._tolerance_m / distance)
        if self._middle is None:
            self._middle, self._low, self._high = direction, -spread, spread
        deviation = (direction - self._middle + pi) % (2 * pi) - pi
        if not self._low <= deviation <= self._high:
            return False
        self._low, self._high = max(self._low, deviation - spread), min(self._high, deviation + spread)
        self._farthest_m = distance
        return True

    def _metres(self, point: Point) -> tuple[float, float]:
        east = degrees_east(self._start.longitude, point.longitude) * self._metres_per_degree * self._shrink
        return east, (point.latitude - self._start.latitude) * self._metres_per_degree


def simplified(points: Iterable[Located], tolerance_m: float) -> Iterator[Located]:
    """Yield a subset of the points, in order; all of them for a tolerance of 0."""
    if tolerance_m <= 0:
        yield from points
        return
    last: Located | None = None
    sleeve: _Sleeve | None = None
    for point in points:
        if sleeve is None or last is None:
            yield point
            sleeve = _Sleeve(point, tolerance_m)
        elif not sleeve.takes(point):
            if not sleeve.begins_with(last):  # else it was kept already
                yield last
            sleeve = _Sleeve(last, tolerance_m)
            if not sleeve.takes(point):
                # The segment to this point is too long, so nothing may be dropped from it.
                yield point
                sleeve = _Sleeve(point, tolerance_m)
        last = point
    # If it began a segment, it has been yielded already.
    if last is not None and sleeve is not None and not sleeve.begins_with(last):
        yield last
