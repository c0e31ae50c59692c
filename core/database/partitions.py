"""The months of `position`: the one module that knows how they are kept.

Looks at the table's kind: partitioned by us, or (a hypertable, say) left to the engine. Months are found by
their bounds, never by name, and bounds are written with ``+00``. Neither making nor dropping one takes a lock
that a reader or writer of `position` would wait for, or that would wait for them with others behind it.
"""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

MONTHS_BACK = 2
MONTHS_AHEAD = 3
_LOCK = 0x6D706F73  # "mpos": one maker of partitions at a time
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
    """``start`` is in it, ``end`` is not. ``is_leaving``: its detaching was begun and cut off."""

    name: str
    is_leaving: bool
    start: datetime
    end: datetime


def month_start(instant: datetime, months: int = 0) -> datetime:
    """The first instant of the UTC month ``months`` after the one of ``instant``."""
    index = instant.astimezone(UTC).year * 12 + instant.astimezone(UTC).month - 1 + months
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def ensure(session: Session, now: datetime) -> list[str]:
    """Make the missing months from two back to three ahead; returns the names of those made."""
    return make(session, [month_start(now, months) for months in range(-MONTHS_BACK, MONTHS_AHEAD + 1)])


def make(session: Session, starts: list[datetime]) -> list[str]:
    """Make the months that begin then, unless they are there; returns the names of those made."""
    if not _is_partitioned(session.connection()):
        return []
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    existing = {month.start for month in present(session.connection())}
    return [_make(session, start) for start in starts if start not in existing]


def present(connection: Connection) -> list[Month]:
    """The months there are, oldest first; none where an engine keeps them."""
    if not _is_partitioned(connection):
        return []
    rows = connection.execute(text(_MONTHS)).all()
    return [
        Month(name, is_leaving, start.astimezone(UTC), end.astimezone(UTC))
        for name, is_leaving, start, end in rows
        if start is not None and end is not None
    ]


def drop_before(connection: Connection, before: datetime, now: datetime) -> list[str]:
    """Drop the months that end before ``before``, but for those that `ensure` would make again.

    ``connection`` commits each statement by itself. Detaching waits for transactions that have begun, while
    new ones neither wait nor see the month; when it is cut off, the next call goes on with it.
    """
    bound = min(before, month_start(now, -MONTHS_BACK))
    for month in present(connection):
        if month.is_leaving:
            connection.execute(text(f"ALTER TABLE position DETACH PARTITION {month.name} FINALIZE"))
        elif month.end <= bound:
            # Known by this mark, should we be cut off between detaching and dropping.
            connection.execute(text(f"COMMENT ON TABLE {month.name} IS '{_DOOMED}'"))
            connection.execute(text(f"ALTER TABLE position DETACH PARTITION {month.name} CONCURRENTLY"))
    return drop_left_over(connection)


def drop_left_over(connection: Connection) -> list[str]:
    """Drop the months that were detached to be dropped, and are in the way of making them again."""
    gone = list(connection.scalars(text(_LEFT_OVER), {"doomed": _DOOMED}))
    for name in gone:
        connection.execute(text(f"DROP TABLE {name}"))
    return gone


def _is_partitioned(connection: Connection) -> bool:
    kind = connection.scalar(text("SELECT relkind FROM pg_class WHERE oid = 'position'::regclass"))
    return kind in {"p", b"p"}


def _make(session: Session, start: datetime) -> str:
    """Attached, not made as a part: that would lock out every reader and writer of `position`."""
    name = f"position_{start:%Y_%m}"
    end = month_start(start, 1)
    session.execute(text(f"CREATE TABLE {name} (LIKE position INCLUDING ALL)"))
    session.execute(
        text(
            f"ALTER TABLE position ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{start:%Y-%m-%d} 00:00:00+00') TO ('{end:%Y-%m-%d} 00:00:00+00')"
        )
    )
    return name
