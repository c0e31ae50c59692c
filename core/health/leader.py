"""The lease of the active jobs process, as a row that its holder renews every few seconds.

The row tells a leader that works from one that is frozen or cut off, and names it. The PostgreSQL advisory
lock `LOCK` keeps two from leading: `jobs.leadership` holds it, and ends the session of a holder that renews
nothing. Instants are the database's; nobody compares them with a clock of its own.
"""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

LOCK = 0x6D6C6561  # "mlea"
LEASE_S = 15.0
RENEW_EVERY_S = 3.0

_HOLDS_LOCK = (
    f"l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = {LOCK} AND l.objsubid = 1"  # noqa: S608  # of constants
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
TAKE = """
INSERT INTO jobs_leader AS leader (id, term, holder, since, renewed_at)
VALUES (1, 1, %s, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE SET term = leader.term + 1, holder = excluded.holder,
  since = excluded.since, renewed_at = excluded.renewed_at
RETURNING term
"""
RENEW = "UPDATE jobs_leader SET renewed_at = clock_timestamp() WHERE term = %s AND holder = %s RETURNING term"
STEP_DOWN = "UPDATE jobs_leader SET holder = NULL WHERE term = %s AND holder = %s"
BEAT = "SELECT term, holder, renewed_at FROM jobs_leader"
# Waits until the session has ended, so that its lock is free; also for one that holds the lock without a row.
EVICT = f"SELECT l.pid, pg_terminate_backend(l.pid, 5000) FROM pg_locks l WHERE {_HOLDS_LOCK}"  # noqa: S608  # of constants

_READ = text(
    "SELECT coalesce(j.holder, 'unknown') AS holder, j.term, coalesce(j.since, a.backend_start) AS since,"  # noqa: S608  # of constants
    " j.renewed_at, extract(epoch FROM clock_timestamp() - j.renewed_at)::float AS silent_s"
    " FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN jobs_leader j ON true"
    f" WHERE {_HOLDS_LOCK}"
)


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads. ``silent_s``: since it renewed its lease; None: it has none (an older Milepost)."""

    holder: str
    term: int | None
    since: datetime | None
    renewed_at: datetime | None
    silent_s: float | None

    @property
    def is_silent(self) -> bool:
        """Whether it is frozen, or cut off from the database: a standby takes over, if there is one."""
        return self.silent_s is None or self.silent_s > LEASE_S

    @property
    def led_for(self) -> timedelta | None:
        """By the database's clock alone, up to its last renewal."""
        if self.since is None or self.renewed_at is None:
            return None
        return self.renewed_at - self.since


def read(session: Session) -> Leader | None:
    """The process that holds the lock; None when none does."""
    row = session.execute(_READ).one_or_none()
    return None if row is None else Leader(**row._mapping)
