"""One active jobs process: whoever holds a PostgreSQL advisory lock, on a connection of its own.

Invariants: the lock belongs to the connection that the term of office gets and works on, so losing either
ends both. Errors: whatever the database raises ends the term; after a short wait we stand by again.
"""

import logging
import random
import threading
from collections.abc import Callable
from contextlib import closing

import psycopg2
import psycopg2.extensions
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from core.backoff import Backoff
from core.database import connect_arguments
from core.deadlines import BoundedConnection
from core.settings import Settings

log = logging.getLogger(__name__)

LOCK = 0x6D6C6561  # "mlea"
IS_LEADER = Gauge("milepost_jobs_is_leader", "1 in the active jobs process, 0 in one that stands by")

Term = Callable[[psycopg2.extensions.connection], None]


def lead(settings: Settings, term: Term, stop: threading.Event) -> None:
    """Until ``stop``: wait for the lock, then run ``term`` with the connection that holds it."""
    backoff = Backoff(limit_s=5.0)
    while not stop.is_set():
        try:
            with closing(connect(settings)) as connection:
                if wait_for_lock(connection, stop):
                    backoff.reset()
                    _serve(term, connection)
        except (psycopg2.Error, SQLAlchemyError) as error:
            log.warning("jobs_database_lost reason=%r", str(error).strip())
            stop.wait(backoff.next())


def connect(settings: Settings) -> psycopg2.extensions.connection:
    """A connection of its own, outside every pool; each statement is a transaction."""
    url = settings.database_url.get_secret_value().replace("+psycopg2", "", 1)
    connection: psycopg2.extensions.connection = psycopg2.connect(
        url, **connect_arguments("jobs-leader"), connection_factory=BoundedConnection
    )
    connection.autocommit = True
    return connection


def wait_for_lock(connection: psycopg2.extensions.connection, stop: threading.Event) -> bool:
    """Stand by until we hold the lock; False when stopped before."""
    log.info("jobs_standing_by")
    with connection.cursor() as cursor:
        while not stop.is_set():
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
            if cursor.fetchone() == (True,):
                return True
            stop.wait(random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
    return False


def _serve(term: Term, connection: psycopg2.extensions.connection) -> None:
    log.info("jobs_leading")
    IS_LEADER.set(1)
    try:
        term(connection)
    finally:
        IS_LEADER.set(0)
        log.info("jobs_leading_ended")
