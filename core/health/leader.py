"""The lease of the leader, the active jobs process: a row that the leader renews every few seconds.

The row names the leader and shows whether it works or is frozen or cut off. The PostgreSQL advisory lock
`Lock.LEADER` prevents two leaders: `jobs.leadership` holds it, and terminates the session of a leader that
does not renew its lease. Instants are by the database's clock and never compared with a process's own clock.
"""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database.locks import Lock

LEASE_S = 15.0
RENEW_EVERY_S = 3.0

_HOLDS_LOCK = (
    "l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objsubid = 1"  # noqa: S608  # of constants
    f" AND l.objid = {Lock.LEADER:d}"
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
# Waits until the session has ended and its lock is free. Also ends a session that has the lock but no row.
EVICT = f"SELECT l.pid, pg_terminate_backend(l.pid, 5000) FROM pg_locks l WHERE {_HOLDS_LOCK}"  # noqa: S608  # of constants

_READ = text(
    "SELECT coalesce(j.holder, 'unknown') AS holder, j.term, coalesce(j.since, a.backend_start) AS since,"  # noqa: S608  # of constants
    " j.renewed_at, extract(epoch FROM clock_timestamp() - j.renewed_at)::float AS silent_s"
    " FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN jobs_leader j ON true"
    f" WHERE {_HOLDS_LOCK}"
)


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """The leader. ``silent_s`` is the age of its last renewal; None without a lease (an older Milepost)."""

    holder: str
    term: int | None
    since: datetime | None
    renewed_at: datetime | None
    silent_s: float | None

    @property
    def is_silent(self) -> bool:
        """Return whether the lease has expired: the leader is frozen or cut off, and a standby takes over."""
        return self.silent_s is None or self.silent_s > LEASE_S

    @property
    def led_for(self) -> timedelta | None:
        """Return the time from the start of the term to the last renewal, by the database's clock."""
        if self.since is None or self.renewed_at is None:
            return None
        return self.renewed_at - self.since


def read(session: Session) -> Leader | None:
    """Return the process that holds the lock, or None."""
    row = session.execute(_READ).one_or_none()
    return None if row is None else Leader(**row._mapping)
