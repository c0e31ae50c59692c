"""The ETA: the remaining distance divided by the smoothed recent speed. Pure."""

from datetime import datetime, timedelta
from math import exp

from core.rules.geo import distance_m

DETOUR = 1.3  # roads are longer than the great circle
SPEED_FLOOR_KMH = 15.0  # a vehicle that waits at a red light must still have an ETA
SPEED_CEILING_KMH = 110.0
SMOOTHING_S = 120.0
ARRIVED_M = 50.0


def smooth_speed(previous_kmh: float | None, speed_kmh: float, seconds: float) -> float:
    """Return the exponentially smoothed speed, over about two minutes whatever the interval of the fixes."""
    if previous_kmh is None:
        return speed_kmh
    weight = 1 - exp(-max(seconds, 0.0) / SMOOTHING_S)
    return previous_kmh + weight * (speed_kmh - previous_kmh)


def eta(
    fix_time: datetime,
    latitude: float,
    longitude: float,
    smoothed_speed_kmh: float | None,
    dropoff: tuple[float, float] | None,
) -> datetime | None:
    """Return the expected arrival, counted from ``fix_time``, or None without drop-off coordinates."""
    if dropoff is None:
        return None
    distance = distance_m(latitude, longitude, *dropoff)
    if distance <= ARRIVED_M:
        return fix_time
    speed_kmh = min(max(smoothed_speed_kmh or 0.0, SPEED_FLOOR_KMH), SPEED_CEILING_KMH)
    return (fix_time + timedelta(seconds=distance * DETOUR / (speed_kmh / 3.6))).replace(microsecond=0)
