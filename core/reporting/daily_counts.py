"""Counts and measurements of a company's day, as set queries: never one query per delivery.

All of them take the day's first instant and the first one after it. Positions are joined to their vehicle,
whose row-level security (RLS) policy covers them; instants are passed as parameters and no subquery is
correlated, so that `position` may be a distributed table.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.fleet import Vehicle
from core.models.people import Driver
from core.reporting import daily_figures
from core.reporting.daily_figures import MAXIMUM_PROBLEMS, Cell, DayFigures, ProblemDelivery
from core.reporting.record_names import vehicle_name
from core.rules.enums import Status
from core.rules.geo import EARTH_RADIUS_M

THINNED_S = 15  # one fix per this many seconds measures a distance well enough
STEP_M = 20.0  # within that time, less is a parked receiver's jitter
FASTEST_MPS = 70.0  # more is a receiver's error
VEHICLES_AT_ONCE = 10  # per statement, which takes a second or two at one fix per second
_ENDED = "d.company_id = :company_id AND d.ended_at >= :starts_at AND d.ended_at < :ends_at"
_LATE = "d.ended_at > d.window_end"
CELLS = text(
    "SELECT d.driver_id, d.vehicle_id, d.status,"  # noqa: S608  # our constants
    " floor(extract(epoch FROM d.ended_at - :starts_at) / 3600)::int, count(*), count(d.window_end),"
    " count(*) FILTER (WHERE d.status = 'delivered' AND d.ended_at <= d.window_end),"
    f" count(*) FILTER (WHERE {_LATE}), count(*) FILTER (WHERE d.status = 'delivered' AND {_LATE}),"
    f" coalesce(sum(extract(epoch FROM d.ended_at - d.window_end)) FILTER (WHERE {_LATE}), 0)::float8"
    f" FROM delivery d WHERE {_ENDED} GROUP BY 1, 2, 3, 4"
)
OPEN = text(
    "SELECT count(*) FILTER (WHERE d.started_at < :at),"
    " count(*) FILTER (WHERE d.window_end >= :starts_at AND d.window_end < :at)"
    " FROM delivery d WHERE d.company_id = :company_id AND (d.ended_at IS NULL OR d.ended_at >= :at)"
)
PLANNED = text(
    "SELECT count(*) FROM delivery d WHERE d.company_id = :company_id"
    " AND d.scheduled_at >= :starts_at AND d.scheduled_at < :ends_at"
)
FAILURES = text(
    "SELECT d.id, d.status, c.reason"  # noqa: S608
    " FROM delivery d JOIN delivery_checkpoint c ON c.delivery_id = d.id"
    f" AND c.kind = 'status' AND c.status = d.status WHERE {_ENDED} AND d.status IN ('failed', 'returned')"
    " ORDER BY d.id"
)
PROBLEMS = text(
    "SELECT d.id, d.reference, d.status, d.ended_at,"  # noqa: S608
    f" CASE WHEN {_LATE} THEN extract(epoch FROM d.ended_at - d.window_end) ELSE 0 END::float8, c.reason,"
    " count(*) OVER () FROM delivery d LEFT JOIN delivery_checkpoint c ON c.delivery_id = d.id"
    f" AND c.kind = 'status' AND c.status = d.status WHERE {_ENDED}"
    f" AND (d.status <> 'delivered' OR {_LATE}) ORDER BY d.ended_at, d.id LIMIT :limit"
)
VEHICLES = text(
    "SELECT v.id FROM vehicle v WHERE v.company_id = :company_id"
    " AND (v.archived_at IS NULL OR v.archived_at > :starts_at) ORDER BY v.id"
)
# First, who drove which vehicle when for deliveries, from assignment to assignment as in
# `core.trips.segments`; simultaneous deliveries count as one drive. Then the steps of each vehicle; a
# driver's distance is the sum of those within the drive.
DISTANCES = text(
    "WITH record AS (SELECT c.delivery_id, c.id, c.kind, c.driver_id, c.vehicle_id, c.occurred_at,"
    "  d.started_at, d.ended_at, row_number() OVER (PARTITION BY c.delivery_id ORDER BY c.id) AS number"
    "  FROM delivery d JOIN delivery_checkpoint c ON c.delivery_id = d.id"
    "  WHERE d.company_id = :company_id AND d.started_at < :ends_at"
    "  AND (d.ended_at IS NULL OR d.ended_at >= :starts_at) AND c.kind IN ('status', 'assignment')),"
    " part AS (SELECT driver_id, vehicle_id,"
    "  CASE WHEN number = 1 THEN :starts_at"
    "   ELSE greatest(occurred_at, :starts_at) END AS since, started_at,"
    "  least(coalesce(lead(occurred_at) OVER (PARTITION BY delivery_id ORDER BY id), ended_at),"
    "   coalesce(ended_at, :ends_at), :ends_at) AS until"
    "  FROM record WHERE number = 1 OR kind = 'assignment'),"
    " drive AS (SELECT driver_id, vehicle_id,"
    "  range_agg(tstzrange(greatest(since, started_at), until)) AS spans"
    "  FROM part WHERE driver_id IS NOT NULL AND vehicle_id = ANY(:vehicle_ids)"
    "  AND greatest(since, started_at) < until GROUP BY 1, 2),"
    " thinned AS (SELECT DISTINCT ON (p.vehicle_id, floor(extract(epoch FROM p.fix_time) / :thinned_s))"
    "  p.vehicle_id, p.fix_time, radians(p.latitude) AS north, radians(p.longitude) AS east"
    "  FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    "  WHERE p.vehicle_id = ANY(:vehicle_ids) AND p.fix_time >= :starts_at AND p.fix_time < :ends_at"
    "  AND NOT p.suspect"
    "  ORDER BY p.vehicle_id, floor(extract(epoch FROM p.fix_time) / :thinned_s), p.fix_time),"
    " pair AS (SELECT vehicle_id, fix_time, north, east, lag(fix_time) OVER w AS time_before,"
    "  lag(north) OVER w AS north_before, lag(east) OVER w AS east_before FROM thinned"
    "  WINDOW w AS (PARTITION BY vehicle_id ORDER BY fix_time)),"
    " step AS (SELECT vehicle_id, fix_time, time_before, 2 * :radius_m * asin(sqrt(least(1,"
    "  sin((north - north_before) / 2) ^ 2"
    "  + cos(north) * cos(north_before) * sin((east - east_before) / 2) ^ 2))) AS metres"
    "  FROM pair WHERE time_before IS NOT NULL),"
    " real AS (SELECT * FROM step WHERE metres >= :step_m"
    "  AND metres <= :fastest_mps * extract(epoch FROM fix_time - time_before))"
    " SELECT NULL AS driver_id, vehicle_id, sum(metres) FROM real GROUP BY 2"
    " UNION ALL"
    " SELECT d.driver_id, NULL, sum(r.metres) FROM real r JOIN drive d ON d.vehicle_id = r.vehicle_id"
    "  AND r.fix_time <@ d.spans GROUP BY 1"
)


class LocalDay(msgspec.Struct, frozen=True):
    """The half-open range of a company's day."""

    company_id: int
    starts_at: datetime
    ends_at: datetime

    @property
    def values(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self)


class Distances(msgspec.Struct, frozen=True):
    """Metres by driver id and by vehicle id."""

    drivers: Mapping[int, float]
    vehicles: Mapping[int, float]


def compute_figures(session: Session, day: LocalDay, now: datetime) -> DayFigures:
    """Read everything that is counted and measured, then sum it up."""
    counted = cells(session, day)
    under_way, overdue = still_open(session, day, now)
    driven = distances(session, day)
    worst, left_out = problems(session, day)
    planned = session.scalar(PLANNED, day.values) or 0
    failures = [(row[0], Status(row[1]), row[2]) for row in session.execute(FAILURES, day.values)]
    drivers, vehicles = _names(session, counted, driven)
    return DayFigures(
        planned=planned,
        under_way=under_way,
        overdue=overdue,
        total=daily_figures.summed(counted),
        distance_m=round(sum(driven.vehicles.values()), 1),
        hours=daily_figures.hours(counted, day.starts_at, day.ends_at),
        drivers=daily_figures.shares(counted, lambda cell: cell.driver_id, drivers, driven.drivers),
        vehicles=daily_figures.shares(counted, lambda cell: cell.vehicle_id, vehicles, driven.vehicles),
        reasons=daily_figures.reasons(failures),
        problems=worst,
        problems_left_out=left_out,
    )


def cells(session: Session, day: LocalDay) -> list[Cell]:
    """Return at most one cell per driver, vehicle, outcome and hour."""
    rows = session.execute(CELLS, day.values)
    return [Cell(row[0], row[1], Status(row[2]), *row[3:]) for row in rows]


def still_open(session: Session, day: LocalDay, now: datetime) -> tuple[int, int]:
    """Return how many deliveries are under way and how many overdue, now or at the day's end."""
    under_way, overdue = session.execute(OPEN, {**day.values, "at": min(now, day.ends_at)}).one()
    return under_way, overdue


def problems(session: Session, day: LocalDay) -> tuple[list[ProblemDelivery], int]:
    """Return the first problem deliveries by their end, and how many are left out."""
    rows = session.execute(PROBLEMS, day.values | {"limit": MAXIMUM_PROBLEMS}).all()
    total: int = rows[0][6] if rows else 0
    return [ProblemDelivery(row[0], row[1], Status(row[2]), *row[3:6]) for row in rows], total - len(rows)


def distances(session: Session, day: LocalDay) -> Distances:
    """Measure a few vehicles per statement, so that no statement takes long however many there are."""
    drivers: dict[int, float] = {}
    vehicles: dict[int, float] = {}
    ids = session.scalars(VEHICLES, day.values).all()
    for first in range(0, len(ids), VEHICLES_AT_ONCE):
        vehicle_ids = ids[first : first + VEHICLES_AT_ONCE]
        for driver_id, vehicle_id, metres in session.execute(DISTANCES, _measured(day, vehicle_ids)):
            by_id, id = (vehicles, vehicle_id) if driver_id is None else (drivers, driver_id)
            by_id[id] = by_id.get(id, 0.0) + metres
    return Distances(drivers, vehicles)


def _measured(day: LocalDay, vehicle_ids: Sequence[int]) -> dict[str, Any]:
    return day.values | {
        "vehicle_ids": list(vehicle_ids),
        "thinned_s": THINNED_S,
        "step_m": STEP_M,
        "fastest_mps": FASTEST_MPS,
        "radius_m": EARTH_RADIUS_M,
    }


def _names(
    session: Session, counted: Sequence[Cell], driven: Distances
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of all drivers and of all vehicles that occur in the figures, by id."""
    driver_ids = driven.drivers.keys() | {cell.driver_id for cell in counted}
    vehicle_ids = driven.vehicles.keys() | {cell.vehicle_id for cell in counted}
    drivers = session.execute(select(Driver.id, Driver.name).where(Driver.id.in_(driver_ids - {None})))
    vehicles = session.execute(
        select(Vehicle.id, Vehicle.name, Vehicle.plate).where(Vehicle.id.in_(vehicle_ids - {None}))
    )
    return (
        {row.id: row.name for row in drivers},
        {row.id: vehicle_name(row.name, row.plate) for row in vehicles},
    )
