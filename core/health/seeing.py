"""A process's view of the system: the contents of the database, and the space on its disk."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import psycopg2
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.database import schema
from core.database.errors import class_and_sqlstate
from core.health import heartbeats, leader
from core.health.leader import Leader
from core.models.heartbeat import Heartbeat
from core.models.record import Outbox

MOST_COUNTED = 10_000

AWAY = "away"
NOT_MIGRATED = "not migrated"
UP = "up"


class OutboxState(msgspec.Struct, frozen=True):
    """The outbox's backlog. ``waiting`` stops at `MOST_COUNTED`; ``oldest_s`` is the oldest row's age."""

    waiting: int
    oldest_s: float
    dead_lettered: int


class DatabaseView(msgspec.Struct, frozen=True):
    """The state in the database ``at`` its clock; ``write_fault`` is why it cannot grow a file, or None."""

    at: datetime
    heartbeats: Sequence[Heartbeat]
    leader: Leader | None
    outbox: OutboxState
    write_fault: str | None


class Disk(msgspec.Struct, frozen=True):
    free_bytes: int
    total_bytes: int


def database_state(sessions: sessionmaker[Session], needed: str | None) -> str:
    """Return whether the database is `UP`, `NOT_MIGRATED` to the revision ``needed``, or `AWAY`.

    A later revision is `UP` too: while a new version is rolled out, processes of the one before still serve.
    """
    try:
        with sessions() as session:
            # Revisions are numbers of four digits, so that they compare as texts.
            return UP if (schema.present_revision(session) or "") >= (needed or "") else NOT_MIGRATED
    except SQLAlchemyError as error:
        is_there = isinstance(getattr(error, "orig", None), psycopg2.ProgrammingError)
        return NOT_MIGRATED if is_there else AWAY


def look(sessions: sessionmaker[Session], needed: str | None) -> DatabaseView | str:
    """Return the view, or `AWAY` or `NOT_MIGRATED`. Blocks until the database responds or times out."""
    state = database_state(sessions, needed)
    if state != UP:
        return state
    try:
        with sessions() as session:
            view = _read(session)
    except SQLAlchemyError:
        return AWAY
    return msgspec.structs.replace(view, write_fault=_write_fault(sessions))


def disk_of(folder: Path | None) -> Disk | None:
    """Return the space of the disk that holds ``folder``, or None if it is unset or cannot be read."""
    try:
        usage = shutil.disk_usage(folder) if folder is not None else None
    except OSError:
        return None
    return None if usage is None else Disk(usage.free, usage.total)


def _read(session: Session) -> DatabaseView:
    return DatabaseView(
        at=session.execute(select(func.clock_timestamp())).scalar_one(),
        heartbeats=heartbeats.read(session),
        leader=leader.read(session),
        outbox=_outbox(session),
        write_fault=None,
    )


def _outbox(session: Session) -> OutboxState:
    waits = Outbox.parked_at.is_(None)
    some = select(Outbox.id).where(waits).limit(MOST_COUNTED).subquery()
    first = select(Outbox.created_at).where(waits).order_by(Outbox.id).limit(1).scalar_subquery()
    age_s = func.coalesce(func.extract("epoch", func.clock_timestamp() - first), 0)
    number = select(func.count()).select_from(some).scalar_subquery()
    dead_lettered = select(func.count()).select_from(Outbox).where(~waits).scalar_subquery()
    waiting, oldest_s, dead = session.execute(select(number, age_s, dead_lettered)).one()
    return OutboxState(waiting, max(0.0, float(oldest_s)), dead)


def _write_fault(sessions: sessionmaker[Session]) -> str | None:
    try:
        with sessions.begin() as session:
            heartbeats.require_disk_space(session)
    except SQLAlchemyError as error:
        return class_and_sqlstate(error)
    return None
