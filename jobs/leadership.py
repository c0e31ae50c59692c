"""One active jobs process: the holder of a PostgreSQL advisory lock, for as long as it renews a lease.

Invariants: the lock belongs to the connection that the term of office gets and works on, so losing either
ends both. The leader renews its row (`nightly.leader`) from a thread of its own; a standby that sees nothing
renewed for `LEASE_S`, by its own monotonic clock, ends the leader's session on the server, which frees the
lock. A leader that was frozen or cut off is over by its own monotonic clock no later than that, and its
session is gone: whatever it still does there fails.
Errors: whatever the database raises ends the term; after a short wait we stand by again.
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
import psycopg2.extensions
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from core.backoff import Backoff
from core.database.deadlines import BoundedConnection
from core.database.engine import connect_arguments
from core.health import leader
from core.health.leader import LEASE_S, RENEW_EVERY_S
from core.settings import Settings
from jobs.schedule.run import ME

log = logging.getLogger(__name__)

LONGEST_GAP_S = 5.0  # between two looks of a standby; after more it may have been frozen itself
IS_LEADER = Gauge("milepost_jobs_is_leader", "1 in the active jobs process, 0 in one that stands by")

Connection = psycopg2.extensions.connection


class Term:
    """One term of office; ``connection`` holds the lock. Asked like a `threading.Event` whether it is over.

    ``taken_at``: by the monotonic clock, before the database was asked for the lease.
    """

    def __init__(self, connection: Connection, number: int, stop: threading.Event, taken_at: float) -> None:
        self.connection = connection
        self.number = number
        self._stop = stop
        self._over = threading.Event()
        self._is_replaced = False
        self._until = taken_at + LEASE_S

    def is_set(self) -> bool:
        """True from the moment the lease may have been given to another, also right after a thaw."""
        return self._stop.is_set() or self._over.is_set() or self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether another leads, or may lead."""
        return self._is_replaced or time.monotonic() >= self._until

    def renew(self, connection: Connection) -> bool:
        """Renew the lease on another connection. False: another leads by now."""
        asked_at = time.monotonic()
        if not _execute(connection, leader.RENEW, (self.number, ME)):
            self._is_replaced = True
            self.end()
            return False
        self._until = asked_at + LEASE_S
        return True

    def end(self) -> None:
        self._over.set()

    def wait(self, seconds: float) -> bool:
        """True once it was ended; a stop of the process is found by `is_set`."""
        return self._over.wait(seconds)


Serve = Callable[[Term], None]


class Standby:
    """What a standby has seen of the leader's lease, by its own monotonic clock: no clock can be set back."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since: float | None = None
        self._looked_at = 0.0

    def has_ended(self, lease: object, at: float) -> bool:
        """Whether ``lease`` stayed as it is for as long as it lasts, while we looked all the time."""
        was_away = at - self._looked_at > LONGEST_GAP_S
        if self._since is None or lease != self._seen or was_away:
            self._seen, self._since = lease, at
        self._looked_at = at
        return at - self._since >= LEASE_S

    def look_anew(self) -> None:
        self._since = None


def lead(settings: Settings, serve: Serve, stop: threading.Event) -> None:
    """Until ``stop``: wait for the lock, then run ``serve`` with the term that it gives us."""
    backoff = Backoff(limit_s=5.0)
    while not stop.is_set():
        try:
            with closing(connect(settings)) as connection:
                if wait_for_lock(connection, stop):
                    backoff.reset()
                    _lead_for_a_term(settings, serve, connection, stop)
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("jobs_database_lost reason=%r", str(error).strip())
            stop.wait(backoff.next())


def connect(settings: Settings, process: str = "jobs-leader") -> Connection:
    """A connection of its own, outside every pool; each statement is a transaction."""
    url = settings.database_url.get_secret_value().replace("+psycopg2", "", 1)
    connection: Connection = psycopg2.connect(
        url, **connect_arguments(process), connection_factory=BoundedConnection
    )
    connection.autocommit = True
    return connection


def wait_for_lock(connection: Connection, stop: threading.Event) -> bool:
    """Stand by until we hold the lock; False when stopped before."""
    log.info("jobs_standing_by")
    standby = Standby()
    while not stop.is_set():
        if _execute(connection, "SELECT pg_try_advisory_lock(%s)", (leader.LOCK,)) == [(True,)]:
            return True
        lease = _execute(connection, leader.BEAT)
        if standby.has_ended(lease, time.monotonic()):
            standby.look_anew()
            _evict(connection, lease)
            continue
        stop.wait(random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
    return False


def _evict(connection: Connection, lease: list[tuple[Any, ...]]) -> None:
    """End the session that holds the lock: a frozen process keeps it for ever, a cut-off one for hours."""
    holder = lease[0][1] if lease else None
    try:
        evicted = _execute(connection, leader.EVICT)
    except psycopg2.errors.InsufficientPrivilege:
        log.error("alert=jobs_leader_stuck holder=%s reason='its database user is not ours: end it'", holder)
        return
    for pid, is_gone in evicted:
        # An operator should look at it: it hangs, is frozen, or does not reach the database.
        log.error("alert=jobs_leader_silent holder=%s backend=%d ended=%s", holder, pid, is_gone)


def _lead_for_a_term(settings: Settings, serve: Serve, connection: Connection, stop: threading.Event) -> None:
    taken_at = time.monotonic()
    [(number,)] = _execute(connection, leader.TAKE, (ME,))
    term = Term(connection, number, stop, taken_at)
    log.info("jobs_leading term=%d", number)
    IS_LEADER.set(1)
    try:
        with _renewed(settings, term):
            serve(term)
        _execute(connection, leader.STEP_DOWN, (number, ME))
    finally:
        IS_LEADER.set(0)
        log.info("jobs_leading_ended term=%d lease_lost=%s", number, str(term.is_lost).lower())


@contextmanager
def _renewed(settings: Settings, term: Term) -> Iterator[None]:
    """The lease is renewed while inside, on a connection of its own: the leader's may be waiting."""
    thread = threading.Thread(target=_renew, args=(settings, term), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        term.end()
        thread.join(1.0)


def _renew(settings: Settings, term: Term) -> None:
    """Until the term is over. A single statement: frozen between two, a transaction would hold the row."""
    backoff = Backoff(limit_s=RENEW_EVERY_S)
    while not term.is_set():
        try:
            with closing(connect(settings, "jobs-lease")) as connection:
                while not term.is_set() and term.renew(connection):
                    backoff.reset()
                    term.wait(RENEW_EVERY_S)
        except psycopg2.Error as error:
            log.warning("jobs_lease_not_renewed reason=%r", str(error).strip())
            term.wait(backoff.next())
    if term.is_lost:
        log.warning("jobs_lease_lost term=%d", term.number)


def _execute(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
