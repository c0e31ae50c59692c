"""The fix, independent of the device's format, and the plausibility rules that every fix must meet."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

FUTURE_LIMIT = timedelta(minutes=5)
PAST_LIMIT = timedelta(days=30)
COORDINATE_DECIMALS = 7
# The device's own id of a message, returned with its JSON type: 17 is not "17".
MessageId = str | int | float


class Fix(msgspec.Struct, frozen=True, gc=False):
    """One fix, in WGS 84 degrees, km/h, metres, percent; ``fix_time`` is the device's clock, in UTC."""

    fix_time: datetime
    latitude: float
    longitude: float
    altitude_m: float | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    battery_percent: float | None = None
    ignition: bool | None = None
    odometer_m: float | None = None
    attributes: dict[str, Any] | None = None
    message_id: MessageId | None = None

    @property
    def is_marked(self) -> bool:
        """Return whether the fix gets the mark for null island: stored, but never the newest position."""
        # GPS receivers without a fix report (0, 0).
        return self.latitude == 0.0 and self.longitude == 0.0


# A fix with the vehicle, fix time, latitude and longitude of a stored one is a duplicate.
FixKey = tuple[int, datetime, float, float]


class VehicleFix(msgspec.Struct, frozen=True, gc=False):
    """One fix of one vehicle, and the device that sent it (None if it was reported over REST)."""

    vehicle_id: int
    fix: Fix
    device_id: str | None = None


class Rejection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why an item is refused. ``raw`` is the item's own bytes, or None for the whole message."""

    reason: str
    detail: str
    raw: bytes | None = None
    message_id: MessageId | None = None


RANGES: tuple[tuple[str, float, float], ...] = (
    ("altitude_m", -12_000.0, 100_000.0),
    ("speed_kmh", 0.0, 2_000.0),
    ("course_deg", 0.0, 360.0),
    ("accuracy_m", 0.0, 10_000_000.0),
    ("battery_percent", 0.0, 100.0),
    ("odometer_m", 0.0, 1e11),
)
FLAGS = ("ignition",)
# What a device measures beside its position, in the order of `Fix`; each is in `RANGES` or in `FLAGS`, of
# which the decoder and the columns of `position` are made.
MEASUREMENTS = Fix.__struct_fields__[3:-2]

# Phones (iOS, OsmAnd) report -1 for an unknown value, in every format. For these fields -1 is no valid value.
UNKNOWN = -1.0
MAY_BE_UNKNOWN = frozenset({"speed_kmh", "course_deg", "accuracy_m"})


def is_unknown(name: str, value: float | None) -> bool:
    """Return whether ``value`` means that the device does not know the field ``name``."""
    return value == UNKNOWN and name in MAY_BE_UNKNOWN


def coordinate(degrees: float) -> float:
    """Return the degrees rounded to 7 decimals (1 cm), with -0.0 as 0.0."""
    # Coordinates are part of the key of `position`: a fix that is sent again must give the same row.
    return round(degrees, COORDINATE_DECIMALS) + 0.0


def time_problem(fix_time: datetime, now: datetime) -> str | None:
    """Return why this instant cannot be the time of a fix, or None."""
    if fix_time > now + FUTURE_LIMIT:
        return f"fix_time {fix_time.isoformat()} is more than 5 minutes in the future"
    if fix_time < now - PAST_LIMIT:
        return f"fix_time {fix_time.isoformat()} is older than 30 days"
    return None


def position_problem(latitude: float, longitude: float) -> str | None:
    """Return why these degrees are not a position, or None."""
    # NaN and infinities fail these comparisons too.
    if not -90.0 <= latitude <= 90.0:
        return "latitude must be a number from -90 to 90"
    if not -180.0 <= longitude <= 180.0:
        return "longitude must be a number from -180 to 180"
    return None


def range_problem(name: str, value: float, low: float, high: float) -> str | None:
    """Return why the value is out of range, or None; NaN and infinities are out of every range."""
    if low <= value <= high:
        return None
    return f"{name} must be a number from {low:g} to {high:g}"


def first_problem(fix: Fix, now: datetime) -> tuple[str, str] | None:
    """Return the first field of a fix that breaks a rule, and the problem, or None."""
    if problem := position_problem(fix.latitude, fix.longitude):
        return problem.partition(" ")[0], problem
    if problem := time_problem(fix.fix_time, now):
        return "fix_time", problem
    for name, low, high in RANGES:
        value = getattr(fix, name)
        if value is not None and (problem := range_problem(name, value, low, high)):
            return name, problem
    return None
