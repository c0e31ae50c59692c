"""The columns of `position`: one list that makes the COPY, the INSERT, their casts and their values."""

import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from core.database.prepared import Named
from core.positions.newest import LOCK_VEHICLES, NewestPosition, read_vehicles
from core.rules.fix import FLAGS, RANGES, FixKey, VehicleFix

# Fields of `Fix` that are stored as they are, in a column of the same name.
FIX_COLUMNS = {
    "fix_time": "timestamptz",
    "latitude": "float8",
    "longitude": "float8",
    **{name: "float8" for name, _low, _high in RANGES},
    **dict.fromkeys(FLAGS, "boolean"),
}
COLUMNS = {
    "vehicle_id": "int",
    **FIX_COLUMNS,
    "received_at": "timestamptz",
    "suspect": "boolean",
    "device_id": "text",
    "attributes": "jsonb",
}
NAMES = ", ".join(COLUMNS)
MAKE_STAGING_TABLE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage (LIKE position) ON COMMIT DELETE ROWS;"
    " SET LOCAL client_min_messages = warning"
)
# `str` writes None, which is no device's id and no JSON, so COPY can read it as NULL.
COPY = f"COPY stage ({NAMES}) FROM STDIN (NULL 'None')"
COPY_LINE = "\t".join(["%s"] * len(COLUMNS)) + "\n"
INSERT = (
    f"INSERT INTO position ({NAMES}) SELECT {NAMES} FROM stage"  # noqa: S608  # our constants
    " ORDER BY vehicle_id, fix_time, latitude, longitude"
    " ON CONFLICT DO NOTHING RETURNING vehicle_id, fix_time, latitude, longitude"
)
# For a single fix, COPY and the staging table (emptied by every commit) would cost more than the insert. The
# row is selected from the locked vehicle, so the lock is taken first on this path too.
INSERT_ONE = Named(
    "store_position",
    f"""
WITH newest AS MATERIALIZED ({LOCK_VEHICLES}), fresh AS (
    INSERT INTO position ({NAMES})
    SELECT id, {", ".join(f"%s::{kind}" for kind in list(COLUMNS.values())[1:])} FROM newest
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT EXISTS (SELECT FROM fresh), newest.* FROM newest
""",  # noqa: S608  # our constants
)

_values_of = attrgetter(*FIX_COLUMNS)


def insert_one(
    cursor: Any, fixes: Mapping[FixKey, VehicleFix], now: datetime
) -> tuple[dict[int, NewestPosition], set[FixKey]]:
    """Do the work of `insert_all` for a single fix in one statement."""
    ((key, fix),) = fixes.items()
    vehicle_id, *values = _row(fix, now)
    cursor.execute(INSERT_ONE.call(cursor, ([vehicle_id], *values)))
    ((is_fresh, *vehicle),) = cursor.fetchall()
    return {fix.vehicle_id: NewestPosition(*vehicle)}, {key} if is_fresh else set()


def insert_all(
    cursor: Any, fixes: Mapping[FixKey, VehicleFix], now: datetime
) -> tuple[dict[int, NewestPosition], set[FixKey]]:
    """Insert the fixes; return the locked vehicles and the keys that were not duplicates."""
    cursor.execute(MAKE_STAGING_TABLE)
    cursor.copy_expert(COPY, io.StringIO(_copy_lines(fixes.values(), now)))
    newest = read_vehicles(cursor, LOCK_VEHICLES, {fix.vehicle_id for fix in fixes.values()})
    cursor.execute(INSERT)
    return newest, set(cursor.fetchall())


def _copy_lines(fixes: Iterable[VehicleFix], now: datetime) -> str:
    """Return the rows in COPY's text format."""
    received_at = now.isoformat()
    lines = [COPY_LINE % _row(fix, received_at) for fix in fixes]
    # The only backslashes are those of the attributes' JSON, and COPY would read them as its own.
    return "".join(lines).replace("\\", "\\\\")


def _row(vehicle_fix: VehicleFix, received_at: object) -> tuple[Any, ...]:
    """Return one value per entry of `COLUMNS`."""
    fix = vehicle_fix.fix
    attributes = msgspec.json.encode(fix.attributes).decode() if fix.attributes else None
    return (
        vehicle_fix.vehicle_id,
        *_values_of(fix),
        received_at,
        fix.is_marked,
        vehicle_fix.device_id,
        attributes,
    )
