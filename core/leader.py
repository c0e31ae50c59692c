"""Which jobs process leads: the one place that says how it is known."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

LOCK = 0x6D6C6561  # "mlea": the advisory lock that the leader holds
_HELD = """
SELECT a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = :key AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_PROCESS = "SELECT process FROM heartbeat WHERE part = 'relay' AND state <> 'stopped'"


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """``holder`` is ``host:pid``, or "unknown"."""

    holder: str
    since: datetime | None
    is_silent: bool = False


def read(session: Session) -> Leader | None:
    """Return the process that leads, or None while none does."""
    since = session.scalar(text(_HELD), {"key": LOCK})
    if since is None:
        return None
    return Leader(holder=session.scalar(text(_PROCESS)) or "unknown", since=since)
