"""Distances and longitudes on the Earth."""

from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_M = 6_371_008.8


def distance_m(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Return the great-circle distance in metres between two points in degrees (haversine)."""
    latitude_1, latitude_2 = radians(latitude), radians(to_latitude)
    half_latitude = (latitude_2 - latitude_1) / 2
    half_longitude = radians(to_longitude - longitude) / 2
    chord = sin(half_latitude) ** 2 + cos(latitude_1) * cos(latitude_2) * sin(half_longitude) ** 2
    return 2 * EARTH_RADIUS_M * asin(sqrt(min(1.0, chord)))


def degrees_east(longitude: float, to_longitude: float) -> float:
    """Return the degrees eastward to the second longitude by the shorter way, from -180 to 180."""
    degrees = to_longitude - longitude
    if degrees > 180.0:
        return degrees - 360.0
    return degrees + 360.0 if degrees < -180.0 else degrees


def wrapped(longitude: float) -> float:
    """Return the longitude wrapped to -180 to 180; it may be at most 360 degrees outside."""
    return degrees_east(0.0, longitude)
