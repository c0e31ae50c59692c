"""The length of a track given as points, measured as a trip's samples are."""

from collections.abc import Iterable

from core.trips.measure import Odometer


def travelled_m(points: Iterable[tuple[float, float]]) -> float:
    """Return the length of a track of (latitude, longitude) in metres."""
    odometer = Odometer()
    for point in points:
        odometer.add(*point)
    return odometer.distance_m
