"""The thread that writes a process's heartbeats without disturbing the process's work.

Invariants: it has its own connection and waits for no lock of the work. While the database does not respond
no heartbeat is written, and the process rightly appears silent.
Errors: a database error is written as the state of the heartbeat if a second transaction can still do so;
nothing is raised.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.database.deadlines import BoundedConnection
from core.database.engine import make_engine, make_sessions
from core.database.errors import class_and_sqlstate
from core.health import heartbeats
from core.health.heartbeats import Beat, PartKind, PartState
from core.settings import Settings

EVERY_S = 5.0
STOP_WITHIN_S = 1.0

log = logging.getLogger(__name__)

Report = Callable[[], Sequence[Beat]]


class ImpatientConnection(BoundedConnection):
    """A connection for monitoring, with a short limit: a missing response is a result as well."""

    limit_s = 3.0


def watching_engine(settings: Settings, process: str, connections: int = 1) -> Engine:
    """Return an engine for monitoring, with its own few connections and short time-outs."""
    return make_engine(
        settings, process=process, pool_size=connections, overflow=0, connections=ImpatientConnection
    )


@contextmanager
def beating(settings: Settings, report: Report, every_s: float = EVERY_S) -> Iterator[None]:
    """Write the beats of ``report`` every ``every_s`` seconds, and at the end that the process stopped."""
    heart = _Heart(settings, report, every_s)
    heart.start()
    try:
        yield
    finally:
        heart.stop()


class _Heart:
    def __init__(self, settings: Settings, report: Report, every_s: float) -> None:
        self._engine = watching_engine(settings, "heartbeat")
        self._sessions: sessionmaker[Session] = make_sessions(self._engine)
        self._report = report
        self._every_s = every_s
        self._stop = threading.Event()
        self._fault: str | None = None
        self._parts: set[PartKind] = set()
        # A daemon thread, because it may hang in the driver and must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        self._try(heartbeats.purge_old_processes)
        while not self._stop.is_set():
            try:
                self._beat()
            except Exception:  # a bug in a report must not make a process look dead
                log.exception("heartbeat_failed")
            self._stop.wait(self._every_s)
        self._try(lambda session: heartbeats.stopped(session, heartbeats.me(), self._parts))
        self._engine.dispose()

    def _beat(self) -> None:
        beats = self._report()
        self._parts |= {beat.part for beat in beats}
        fault = self._try(lambda session: _write_with_disk_space(session, beats))
        if fault is not None:
            self._try(lambda session: heartbeats.write(session, heartbeats.me(), _faulty(beats, fault)))
        if fault != self._fault:
            log.warning("heartbeat_%s reason=%s", "failed" if fault else "recovered", fault or self._fault)
            self._fault = fault

    def _try(self, work: Callable[[Session], None]) -> str | None:
        """Run ``work`` in a transaction; return its database error as text, or None."""
        try:
            with self._sessions.begin() as session:
                work(session)
        except SQLAlchemyError as error:
            return class_and_sqlstate(error)
        return None


def _write_with_disk_space(session: Session, beats: Sequence[Beat]) -> None:
    heartbeats.require_disk_space(session)
    heartbeats.write(session, heartbeats.me(), beats)


def _faulty(beats: Sequence[Beat], fault: str) -> list[Beat]:
    return [msgspec.structs.replace(beat, state=PartState.CANNOT_STORE, detail=fault) for beat in beats]
