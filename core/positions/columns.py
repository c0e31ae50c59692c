"""The columns of `position`, and fixes as its rows: COPY into a staging table, or a single INSERT."""

import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from core.database.prepared import Named
from core.positions.newest import LOCK_VEHICLES
from core.rules.fix import Fix

STAGE_COLUMNS = (
    "vehicle_id, fix_time, latitude, longitude, received_at, altitude_m, speed_kmh, course_deg,"
    " accuracy_m, battery_percent, ignition, odometer_m, suspect, device_id, attributes"
)
MAKE_STAGE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage (LIKE position) ON COMMIT DELETE ROWS;"
    " SET LOCAL client_min_messages = warning"
)
INSERT = (
    f"INSERT INTO position ({STAGE_COLUMNS}) SELECT {STAGE_COLUMNS} FROM stage"  # noqa: S608  # our constants
    " ORDER BY vehicle_id, fix_time, latitude, longitude"
    " ON CONFLICT DO NOTHING RETURNING vehicle_id, fix_time, latitude, longitude"
)
# For a single fix, COPY and the staging table (emptied by every commit) would cost more than the insert. The
# row is selected from the locked vehicle, so the lock is taken first on this path too.
STORE_ONE = Named(
    "store_position",
    f"""
WITH newest AS MATERIALIZED ({LOCK_VEHICLES}), fresh AS (
    INSERT INTO position ({STAGE_COLUMNS})
    SELECT id, %s::timestamptz, %s::float8, %s::float8, %s::timestamptz, %s::float8, %s::float8, %s::float8,
           %s::float8, %s::float8, %s::boolean, %s::float8, %s::boolean, %s::text, %s::jsonb FROM newest
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT EXISTS (SELECT FROM fresh), newest.* FROM newest
""",  # noqa: S608  # our constants
)

Key = tuple[int, datetime, float, float]


class VehicleFix(msgspec.Struct, frozen=True, gc=False):
    """One fix of one vehicle, and the device that sent it (None if it was reported over REST)."""

    vehicle_id: int
    fix: Fix
    device_id: str | None = None

    @property
    def key(self) -> Key:
        return self.vehicle_id, self.fix.fix_time, self.fix.latitude, self.fix.longitude


def copy_to_stage(cursor: Any, sightings: Iterable[VehicleFix], now: datetime) -> None:
    cursor.execute(MAKE_STAGE)
    received_at = now.isoformat()
    rows = io.StringIO("".join([_copy_line(sighting, received_at) for sighting in sightings]))
    cursor.copy_expert(f"COPY stage ({STAGE_COLUMNS}) FROM STDIN", rows)


def _copy_line(sighting: VehicleFix, received_at: str) -> str:
    """Return one row in COPY's text format: tab-separated, ``\\N`` for NULL."""
    fix = sighting.fix
    attributes = "\\N"
    if fix.attributes:
        attributes = msgspec.json.encode(fix.attributes).decode().replace("\\", "\\\\")
    return (
        f"{sighting.vehicle_id}\t{fix.fix_time}\t{fix.latitude}\t{fix.longitude}\t{received_at}\t"
        f"{_field(fix.altitude_m)}\t{_field(fix.speed_kmh)}\t{_field(fix.course_deg)}\t"
        f"{_field(fix.accuracy_m)}\t{_field(fix.battery_percent)}\t{_field(fix.ignition)}\t"
        f"{_field(fix.odometer_m)}\t{fix.is_suspect}\t{_field(sighting.device_id)}\t{attributes}\n"
    )


def _field(value: object) -> object:
    return "\\N" if value is None else value


def row_of(sighting: VehicleFix, now: datetime) -> tuple[object, ...]:
    """Return the parameters of `STORE_ONE`: the vehicle id in a list, then the other `STAGE_COLUMNS`."""
    fix = sighting.fix
    return (
        [sighting.vehicle_id],
        fix.fix_time,
        fix.latitude,
        fix.longitude,
        now,
        fix.altitude_m,
        fix.speed_kmh,
        fix.course_deg,
        fix.accuracy_m,
        fix.battery_percent,
        fix.ignition,
        fix.odometer_m,
        fix.is_suspect,
        sighting.device_id,
        msgspec.json.encode(fix.attributes).decode() if fix.attributes else None,
    )
