"""Heartbeats: the state that each part of the system reports about itself. The caller commits.

A part that is frozen, killed or cut off from the database reports nothing, so that its row becomes stale.
That silence is the signal, and it is measured by the database's clock only.
"""

import enum
import os
import socket
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.heartbeat import Heartbeat

KEPT = timedelta(days=1)  # for API processes, whose names are never used again
# Grows a temporary table's file by 8 pages, which the commit truncates: no WAL, no bloat. The UPDATE of a
# heartbeat reuses its page and would succeed on a full disk, on which no fix can be stored.
_REQUIRE_DISK_SPACE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS heartbeat_room (filler text) ON COMMIT DELETE ROWS",
    "INSERT INTO heartbeat_room SELECT repeat('x', 1900) FROM generate_series(1, 32)",
)


class PartKind(enum.StrEnum):
    INGEST = "ingest"
    RELAY = "relay"
    API = "api"


class PartState(enum.StrEnum):
    OK = "ok"
    IMPAIRED = "impaired"
    OFF_BROKER = "off_broker"
    CANNOT_STORE = "cannot_store"
    STUCK = "stuck"
    STOPPED = "stopped"


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One part's report. ``worked_at`` is when it last did its work; None if not since it started."""

    part: PartKind
    name: str
    state: PartState
    detail: str | None = None
    worked_at: datetime | None = None


def me() -> str:
    """Return this process's name, ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def write(session: Session, process: str, beats: Sequence[Beat]) -> None:
    """Write the beats of one process; ``since`` changes only with the state."""
    rows = [_row(process, beat) for beat in sorted(beats, key=lambda beat: (beat.part, beat.name))]
    if not rows:
        return
    query = insert(Heartbeat).values(rows)
    new = query.excluded
    session.execute(
        query.on_conflict_do_update(
            index_elements=[Heartbeat.part, Heartbeat.name],
            set_={
                "process": new.process,
                "state": new.state,
                "detail": new.detail,
                "seen_at": new.seen_at,
                "worked_at": func.coalesce(new.worked_at, Heartbeat.worked_at),
                "since": case((Heartbeat.state == new.state, Heartbeat.since), else_=new.since),
            },
        )
    )


def stopped(session: Session, process: str, parts: Iterable[PartKind]) -> None:
    """Mark the parts of this process as stopped in an orderly way; leave other processes' rows alone."""
    now = func.clock_timestamp()
    query = update(Heartbeat).where(Heartbeat.process == process, Heartbeat.part.in_(parts))
    session.execute(query.values(state=PartState.STOPPED, detail=None, since=now, seen_at=now))


def purge_old_processes(session: Session) -> None:
    """Purge the rows of API processes that have been silent for longer than `KEPT`."""
    is_old = Heartbeat.seen_at < func.clock_timestamp() - KEPT
    session.execute(delete(Heartbeat).where(Heartbeat.part == PartKind.API, is_old))


def read(session: Session) -> Sequence[Heartbeat]:
    """Return all rows, by part and name."""
    return session.scalars(select(Heartbeat).order_by(Heartbeat.part, Heartbeat.name)).all()


def require_disk_space(session: Session) -> None:
    """Check that PostgreSQL can grow a file. Raises `DBAPIError` (SQLSTATE 53100 on a full disk)."""
    for statement in _REQUIRE_DISK_SPACE:
        session.execute(text(statement))


def _row(process: str, beat: Beat) -> dict[str, object]:
    now = func.clock_timestamp()
    return {
        "part": beat.part.value,
        "name": beat.name,
        "process": process,
        "state": beat.state.value,
        "detail": beat.detail,
        "since": now,
        "seen_at": now,
        "worked_at": beat.worked_at,
    }
