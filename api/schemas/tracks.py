"""A delivery's track, and its query parameters."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.schemas.fields import Input, Output
from reports.tracks.writers import TrackFormat

MAXIMUM_TOLERANCE_M = 10_000


class TrackQuery(Input):
    format: Annotated[TrackFormat | None, Field(description="instead of the `Accept` header")] = None
    tolerance_m: Annotated[
        float,
        Field(
            ge=0,
            le=MAXIMUM_TOLERANCE_M,
            allow_inf_nan=False,
            examples=[10],
            description="leave fixes out that lie this close to the line through the others; 0: none",
        ),
    ] = 0


class LegOut(Output):
    """One vehicle's trip segment; an assignment while under way begins another."""

    vehicle_id: int
    start: datetime
    end: datetime


class TrackFixOut(Output):
    """A fix: degrees WGS 84, metres, km/h, percent. ``device_id`` is null for a fix reported over REST."""

    vehicle_id: int
    fix_time: datetime
    latitude: float
    longitude: float
    altitude_m: float | None
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None
    battery_percent: float | None
    device_id: str | None


class TrackOut(Output):
    """A track. ``start`` and ``end`` bound the active window; both are null before the pickup.

    Fixes from before ``removed_before`` were purged under the company's retention policy. Null: none were.
    """

    delivery_id: int
    start: datetime | None
    end: datetime | None
    removed_before: datetime | None
    legs: list[LegOut]
    fixes: list[TrackFixOut]
