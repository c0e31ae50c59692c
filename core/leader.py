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


class Leader(msgspec.Struct, frozen=True):
    """``process`` is ``host:pid``; None: it has not said so yet."""

    process: str | None
    since: datetime


def present(session: Session) -> Leader | None:
    """Return the leader, or None while no jobs process leads."""
    since = session.scalar(text(_HELD), {"key": LOCK})
    return None if since is None else Leader(session.scalar(text(_PROCESS)), since)
