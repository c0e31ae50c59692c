"""The monthly partitions of `position`.

If `position` is not a partitioned table (a hypertable, for example), its partitioning is left to the engine.
Partitions are found by their bounds, never by name, and bounds are written with ``+00``. Neither making nor
dropping one takes a lock that blocks readers or writers of `position`, or that queues behind them and so
blocks those that come later.
"""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from core.database import locks
from core.database.locks import Lock

MONTHS_BACK = 2
MONTHS_AHEAD = 3
_DOOMED = "milepost: to be dropped"
_MONTHS = """
SELECT c.oid::regclass::text, i.inhdetachpending,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), $$FROM \\('([^']+)'\\)$$))[1]::timestamptz,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), $$TO \\('([^']+)'\\)$$))[1]::timestamptz
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'position'::regclass ORDER BY 3
"""
_LEFT_OVER = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
  AND obj_description(c.oid, 'pg_class') = :doomed
"""


class Month(msgspec.Struct, frozen=True):
    """A partition: ``start`` inclusive, ``end`` exclusive. ``is_leaving``: a DETACH of it was interrupted."""

    name: str
    is_leaving: bool
    start: datetime
    end: datetime


def month_start(instant: datetime, months: int = 0) -> datetime:
    """Return the first instant of the UTC month that is ``months`` after the month of ``instant``."""
    index = instant.astimezone(UTC).year * 12 + instant.astimezone(UTC).month - 1 + months
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def ensure(session: Session, now: datetime) -> list[str]:
    """Make missing partitions from `MONTHS_BACK` to `MONTHS_AHEAD`; return the names of those made."""
    return make(session, [month_start(now, months) for months in range(-MONTHS_BACK, MONTHS_AHEAD + 1)])


def make(session: Session, starts: list[datetime]) -> list[str]:
    """Make the partitions that begin at ``starts`` unless they exist; return the names of those made."""
    if not _is_partitioned(session.connection()):
        return []
    session.execute(locks.WAIT_IN_TRANSACTION, {"lock": Lock.PARTITIONS})
    existing = {month.start for month in present(session.connection())}
    return [_make(session, start) for start in starts if start not in existing]


def present(connection: Connection) -> list[Month]:
    """Return the partitions, oldest first; none if the partitioning is left to the engine."""
    if not _is_partitioned(connection):
        return []
    rows = connection.execute(text(_MONTHS)).all()
    return [
        Month(name, is_leaving, start.astimezone(UTC), end.astimezone(UTC))
        for name, is_leaving, start, end in rows
        if start is not None and end is not None
    ]


def drop_before(connection: Connection, before: datetime, now: datetime) -> list[str]:
    """Drop the partitions that end by ``before``, except those that `ensure` would make again.

    ``connection`` must be in autocommit mode. DETACH CONCURRENTLY waits for transactions that have begun; new
    ones neither wait for it nor see the partition. If it is interrupted, the next call finishes it.
    """
    bound = min(before, month_start(now, -MONTHS_BACK))
    for month in present(connection):
        if month.is_leaving:
            connection.execute(text(f"ALTER TABLE position DETACH PARTITION {month.name} FINALIZE"))
        elif month.end <= bound:
            # The comment identifies the table if the process stops between detaching and dropping it.
            connection.execute(text(f"COMMENT ON TABLE {month.name} IS '{_DOOMED}'"))
            connection.execute(text(f"ALTER TABLE position DETACH PARTITION {month.name} CONCURRENTLY"))
    return drop_left_over(connection)


def drop_left_over(connection: Connection) -> list[str]:
    """Drop the tables that `drop_before` detached but did not drop; return their names."""
    # Such a table still has the name that the partition of its month would need.
    gone = list(connection.scalars(text(_LEFT_OVER), {"doomed": _DOOMED}))
    for name in gone:
        connection.execute(text(f"DROP TABLE {name}"))
    return gone


def _is_partitioned(connection: Connection) -> bool:
    kind = connection.scalar(text("SELECT relkind FROM pg_class WHERE oid = 'position'::regclass"))
    return kind in {"p", b"p"}


def _make(session: Session, start: datetime) -> str:
    """Make one partition and return its name."""
    name = f"position_{start:%Y_%m}"
    end = month_start(start, 1)
    # CREATE TABLE … PARTITION OF would lock out every reader and writer of `position`; ATTACH does not.
    session.execute(text(f"CREATE TABLE {name} (LIKE position INCLUDING ALL)"))
    session.execute(
        text(
            f"ALTER TABLE position ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{start:%Y-%m-%d} 00:00:00+00') TO ('{end:%Y-%m-%d} 00:00:00+00')"
        )
    )
    return name
