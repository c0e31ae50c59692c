"""The job that purges data past its retention period (`operations.retention`), in many small transactions.

It pauses after each transaction for as long as that took, so that it uses at most half of one connection's
time. After a failure or a stop the next run continues: its only state is the tables themselves.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session, sessionmaker

from core.database import partitions
from core.database.deadlines import BoundedConnection
from core.database.engine import LOCK_TIMEOUT_S
from core.operations import retention, retention_bounds
from core.operations.retention_bounds import RetentionBounds
from jobs.schedule.run import JobRun

FIXES = 2_000
DELIVERIES = 100
MEASURED = 20  # deliveries per transaction; reads all fixes of each
ROWS = 1_000
SHORTEST_REST_S = 0.02
# Detaching a partition waits for every open transaction, a track's or a backup's included.
DETACHED_WITHIN_S = 300


class Removed(msgspec.Struct):
    """The number of rows and partitions that one run removed."""

    months: int = 0
    fixes: int = 0
    deliveries: int = 0
    others: int = 0

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(self).items())


class Retention:
    """One run. ``stop`` ends it between two transactions."""

    def __init__(self, sessions: sessionmaker[Session], stop: threading.Event, now: datetime) -> None:
        self._sessions = sessions
        self._stop = stop
        self._now = now
        self.removed = Removed()

    def run(self) -> Removed:
        with self._sessions.begin() as session:
            bounds = retention_bounds.read(session, self._now)
        self._measure(bounds)
        present = self._present(bounds)
        self._note(present)
        self._drop_months(present)
        for company_id in [bound.company_id for bound in bounds]:
            bound = next((one for one in self._present(bounds) if one.company_id == company_id), None)
            if bound is not None:
                self._purge_fixes(bound)
                self._purge_deliveries(bound)
        for age in retention.AGES:
            self.removed.others += self._drain(
                partial(retention.purge_aged, age=age, now=self._now, limit=ROWS)
            )
        return self.removed

    def _present(self, bounds: list[RetentionBounds]) -> list[RetentionBounds]:
        """Return the bounds that still apply, read again before anything is deleted for good."""
        with self._sessions.begin() as session:
            return retention_bounds.read_again(session, bounds, self._now)

    def _measure(self, bounds: list[RetentionBounds]) -> None:
        """Store the distance of ended deliveries whose fixes are about to be deleted."""
        # Of all companies first: a dropped partition holds the fixes of every company.
        for bound in bounds:
            if (before := bound.fixes_before) is not None:
                company_id = bound.company_id
                self._drain(
                    partial(
                        retention.measure,
                        company_id=company_id,
                        before=before,
                        now=self._now,
                        limit=MEASURED,
                    )
                )

    def _note(self, bounds: list[RetentionBounds]) -> None:
        """Record each removal before the first deletion, so that no report lacks fixes without saying so."""
        for bound in bounds:
            if bound.fixes_before is not None and not self._stop.is_set():
                with self._sessions.begin() as session:
                    retention.note_purge(session, bound.company_id, bound.fixes_before)

    def _drop_months(self, bounds: list[RetentionBounds]) -> None:
        before = retention_bounds.months_before(bounds)
        if before is None or self._stop.is_set():
            return
        with patient(self._sessions) as connection:
            self.removed.months += len(partitions.drop_before(connection, before, self._now))

    def _purge_fixes(self, bound: RetentionBounds) -> None:
        before = bound.fixes_before
        if before is None or self._stop.is_set():
            return
        with self._sessions.begin() as session:
            vehicles = retention.vehicles_with_old_fixes(session, bound.company_id, before)
        for vehicle_id in vehicles:
            self.removed.fixes += self._drain(
                partial(retention.purge_fixes, vehicle_id=vehicle_id, before=before, limit=FIXES)
            )

    def _purge_deliveries(self, bound: RetentionBounds) -> None:
        if (before := bound.deliveries_before) is not None:
            part = partial(retention.purge_deliveries, company_id=bound.company_id, before=before)
            self.removed.deliveries += self._drain(partial(part, limit=DELIVERIES))

    def _drain(self, part: Callable[[Session], int]) -> int:
        """Run ``part`` in one transaction per batch until none is left; return the number of rows deleted."""
        total = 0
        while not self._stop.is_set():
            begun = time.monotonic()
            with self._sessions.begin() as session:
                done = part(session)
            if not done:
                break
            total += done
            self._stop.wait(max(SHORTEST_REST_S, time.monotonic() - begun))
        return total


def enforce(sessions: sessionmaker[Session], stop: threading.Event, now: datetime | None = None) -> Removed:
    """Purge everything that is due, in as many transactions as it takes."""
    return Retention(sessions, stop, now or datetime.now(UTC)).run()


def by_the_clock(run: JobRun) -> Removed:
    """Run the purge as a scheduled job."""
    return enforce(run.sessions, run.stop)


@contextmanager
def patient(sessions: sessionmaker[Session]) -> Iterator[Connection]:
    """Yield an autocommit connection of its own, with long time-outs."""
    with sessions() as session:
        connection = _engine(session).connect().execution_options(isolation_level="AUTOCOMMIT")
    with closing(connection):
        raw = connection.connection.driver_connection
        connection.detach()  # from the pool: no other user may inherit its long time-outs
        if isinstance(raw, BoundedConnection):
            raw.limit_s = DETACHED_WITHIN_S + 2 * LOCK_TIMEOUT_S
        connection.execute(text(f"SET statement_timeout = '{DETACHED_WITHIN_S}s'"))
        connection.execute(text(f"SET lock_timeout = '{DETACHED_WITHIN_S}s'"))
        yield connection


def _engine(session: Session) -> Engine:
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    return engine
