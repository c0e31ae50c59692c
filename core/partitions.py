"""The months of `position`: the one module that knows how they are kept.

Looks at the table's kind: partitioned by us, or (a hypertable, say) left to the engine. Months are found by
their bounds, never by name, and bounds are written with ``+00``.
"""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

MONTHS_BACK = 2
MONTHS_AHEAD = 3
_LOCK = 0x6D706F73  # "mpos": one maker of partitions at a time


def month_start(instant: datetime, months: int = 0) -> datetime:
    """The first instant of the UTC month ``months`` after the one of ``instant``."""
    index = instant.astimezone(UTC).year * 12 + instant.astimezone(UTC).month - 1 + months
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)


def ensure(session: Session, now: datetime) -> list[str]:
    """Make the missing months from two back to three ahead; returns the names of those made."""
    if not _is_partitioned(session):
        return []
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    existing = _lower_bounds(session)
    starts = [month_start(now, months) for months in range(-MONTHS_BACK, MONTHS_AHEAD + 1)]
    return [_make(session, start) for start in starts if start not in existing]


def _is_partitioned(session: Session) -> bool:
    kind = session.scalar(text("SELECT relkind FROM pg_class WHERE oid = 'position'::regclass"))
    return kind in {"p", b"p"}


def _lower_bounds(session: Session) -> set[datetime]:
    bounds = session.scalars(
        text(
            "SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid),"
            " $$FROM \\('([^']+)'\\)$$))[1]::timestamptz"
            " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'position'::regclass"
        )
    )
    return {bound.astimezone(UTC) for bound in bounds if bound is not None}


def _make(session: Session, start: datetime) -> str:
    name = f"position_{start:%Y_%m}"
    end = month_start(start, 1)
    session.execute(
        text(
            f"CREATE TABLE {name} PARTITION OF position"
            f" FOR VALUES FROM ('{start:%Y-%m-%d} 00:00:00+00') TO ('{end:%Y-%m-%d} 00:00:00+00')"
        )
    )
    return name
