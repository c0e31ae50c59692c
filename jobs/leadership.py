"""Leader election: the one active jobs process holds a PostgreSQL advisory lock and renews a lease.

Invariants: the lock belongs to the connection on which the leader works during its term, so losing either
ends both. The leader renews its row (`core.health.leader`) from a thread of its own; a standby that sees no
renewal for `LEASE_S`, by its own monotonic clock, ends the leader's session on the server, which frees the
lock. A leader that was frozen or cut off ends its term by its own monotonic clock no later than that, and its
session is gone: any statement it still sends there fails.
Errors: a database error ends the term; after a short wait the process stands by again.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from core.backoff import Backoff
from core.database import dedicated, locks
from core.database.dedicated import Connection, execute
from core.database.locks import Lock
from core.health import leader
from core.health.leader import LEASE_S, RENEW_EVERY_S
from core.settings import Settings
from jobs.schedule.run import ME

log = logging.getLogger(__name__)

LONGEST_GAP_S = 5.0  # between two checks of a standby; after more it may have been frozen itself
IS_LEADER = Gauge("milepost_jobs_is_leader", "1 in the active jobs process, 0 in one that stands by")


class Term:
    """A leader's term; ``connection`` holds the lock. Ends like a `threading.Event` that is set.

    ``taken_at``: the monotonic time before the lease was requested from the database.
    """

    def __init__(self, connection: Connection, number: int, stop: threading.Event, taken_at: float) -> None:
        self.connection = connection
        self.number = number
        self._stop = stop
        self._over = threading.Event()
        self._is_replaced = False
        self._until = taken_at + LEASE_S

    def is_set(self) -> bool:
        """Return True from the moment when another process may hold the lease, also right after a thaw."""
        return self._stop.is_set() or self._over.is_set() or self.is_lost

    @property
    def is_lost(self) -> bool:
        """Return whether another process leads, or may lead."""
        return self._is_replaced or time.monotonic() >= self._until

    def renew(self, connection: Connection) -> bool:
        """Renew the lease on another connection; return False if another process leads by now."""
        asked_at = time.monotonic()
        if not execute(connection, leader.RENEW, (self.number, ME)):
            self._is_replaced = True
            self.end()
            return False
        self._until = asked_at + LEASE_S
        return True

    def end(self) -> None:
        self._over.set()

    def wait(self, seconds: float) -> bool:
        """Wait; return True once the term was ended. Only `is_set` notices a stop of the process."""
        return self._over.wait(seconds)


Serve = Callable[[Term], None]


class Standby:
    """A standby's view of the leader's lease, timed by its own monotonic clock, which cannot be set back."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since: float | None = None
        self._checked_at = 0.0

    def has_ended(self, lease: object, at: float) -> bool:
        """Return whether ``lease`` has stayed unchanged for its full length, observed without a gap."""
        had_a_gap = at - self._checked_at > LONGEST_GAP_S
        if self._since is None or lease != self._seen or had_a_gap:
            self._seen, self._since = lease, at
        self._checked_at = at
        return at - self._since >= LEASE_S

    def restart(self) -> None:
        self._since = None


def lead(settings: Settings, serve: Serve, stop: threading.Event) -> None:
    """Wait for the lock, then run ``serve`` with the term that it grants; repeat until ``stop``."""
    backoff = Backoff(limit_s=5.0)
    while not stop.is_set():
        try:
            with closing(dedicated.connect(settings, "jobs-leader")) as connection:
                if wait_for_lock(connection, stop):
                    backoff.reset()
                    _lead_for_a_term(settings, serve, connection, stop)
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("jobs_database_lost reason=%r", str(error).strip())
            stop.wait(backoff.next())


def wait_for_lock(connection: Connection, stop: threading.Event) -> bool:
    """Stand by until this process holds the lock; return False if stopped before."""
    log.info("jobs_standing_by")
    standby = Standby()
    while not stop.is_set():
        if execute(connection, locks.TRY_BY_DRIVER, (Lock.LEADER,)) == [(True,)]:
            return True
        lease = execute(connection, leader.BEAT)
        if standby.has_ended(lease, time.monotonic()):
            standby.restart()
            _evict(connection, lease)
            continue
        stop.wait(random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
    return False


def _evict(connection: Connection, lease: list[tuple[Any, ...]]) -> None:
    """End the session that holds the lock."""
    # A frozen process would keep the lock for ever, one cut off from the network for hours.
    holder = lease[0][1] if lease else None
    try:
        evicted = execute(connection, leader.EVICT)
    except psycopg2.errors.InsufficientPrivilege:
        log.error("alert=jobs_leader_stuck holder=%s reason='its database user is not ours: end it'", holder)
        return
    for pid, is_gone in evicted:
        # An operator should investigate: the leader hangs, is frozen, or does not reach the database.
        log.error("alert=jobs_leader_silent holder=%s backend=%d ended=%s", holder, pid, is_gone)


def _lead_for_a_term(settings: Settings, serve: Serve, connection: Connection, stop: threading.Event) -> None:
    taken_at = time.monotonic()
    [(number,)] = execute(connection, leader.TAKE, (ME,))
    term = Term(connection, number, stop, taken_at)
    log.info("jobs_leading term=%d", number)
    IS_LEADER.set(1)
    try:
        with _renewed(settings, term):
            serve(term)
        execute(connection, leader.STEP_DOWN, (number, ME))
    finally:
        IS_LEADER.set(0)
        log.info("jobs_leading_ended term=%d lease_lost=%s", number, str(term.is_lost).lower())


@contextmanager
def _renewed(settings: Settings, term: Term) -> Iterator[None]:
    """Renew the lease inside the context."""
    # On a connection of its own: the leader's may be blocked in a wait.
    thread = threading.Thread(target=_renew, args=(settings, term), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        term.end()
        thread.join(1.0)


def _renew(settings: Settings, term: Term) -> None:
    """Renew the lease until the term is over."""
    # Each renewal is a single statement: a process frozen inside a transaction would keep the row locked.
    backoff = Backoff(limit_s=RENEW_EVERY_S)
    while not term.is_set():
        try:
            with closing(dedicated.connect(settings, "jobs-lease")) as connection:
                while not term.is_set() and term.renew(connection):
                    backoff.reset()
                    term.wait(RENEW_EVERY_S)
        except psycopg2.Error as error:
            log.warning("jobs_lease_not_renewed reason=%r", str(error).strip())
            term.wait(backoff.next())
    if term.is_lost:
        log.warning("jobs_lease_lost term=%d", term.number)
