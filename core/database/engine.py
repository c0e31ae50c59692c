"""Engines and connections, all with time-outs, so that no stall outlasts an MQTT keep-alive."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.orm import Session, sessionmaker

from core.database import row_security
from core.database.deadlines import BoundedConnection
from core.database.errors import OUTDATED
from core.settings import Settings

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 15
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
IDLE_S = 1.0
IS_IN_EVERY_TRACEBACK = True  # for `core.nightly.job_states.where`


def make_engine(
    settings: Settings,
    *,
    process: str,
    pool_size: int = 5,
    overflow: int = 5,
    connections: type[BoundedConnection] = BoundedConnection,
) -> Engine:
    """Return an engine whose connections have time-outs; ``pg_stat_activity`` shows ``process``."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_timeout=CONNECT_TIMEOUT_S,
        # Row values (names, hashes) in an error's parameters must not reach the log.
        hide_parameters=True,
        use_native_hstore=False,
        connect_args={**connect_arguments(process), "connection_factory": connections},
    )
    event.listen(engine, "checkout", _require_alive)
    return engine


def _require_alive(connection: Any, record: Any, _proxy: Any) -> None:
    """Check a pooled connection at checkout, mostly without a round trip.

    A server that closed the connection left something to read on its socket. A connection that was idle is
    pinged, because a link can die silently. `DisconnectionError` makes the pool take or open another one.
    """
    now = time.monotonic()
    is_new = "alive_at" not in record.info
    was_used = now - record.info.get("alive_at", 0.0) < IDLE_S
    record.info["alive_at"] = now
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if was_used and not socket.poll(0):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error as error:
        if is_new:
            raise  # a new connection that is lost at once means that the server is going down
        raise DisconnectionError("the server closed the connection") from error


def connect_arguments(process: str) -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
        "keepalives_idle": 15,
        "application_name": f"milepost-{process}",
        "options": (
            f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_S}s -c statement_timeout={STATEMENT_TIMEOUT_S}s"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_S}s"
            # The prepared statements all look rows up by key; by default PostgreSQL may replan every call.
            " -c plan_cache_mode=force_generic_plan"
        ),
    }


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return a session factory. The code that opens a session commits it."""
    # Without expiry on commit, returned rows stay readable after the session has committed.
    sessions = sessionmaker(engine, expire_on_commit=False)
    row_security.watch(sessions)
    return sessions


@contextmanager
def driver_cursor(connection: Connection) -> Iterator[Any]:
    """Yield a psycopg2 cursor of a SQLAlchemy connection, inside its transaction: for COPY, and for speed.

    Errors are raised as SQLAlchemy's `DBAPIError`, and a lost connection is invalidated, as SQLAlchemy does.
    """
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except psycopg2.Error as error:
        is_lost = error.pgcode in OUTDATED or connection.dialect.is_disconnect(
            error,  # type: ignore[arg-type]
            connection.connection,
            cursor,
        )
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, psycopg2.Error, connection_invalidated=is_lost, dialect=connection.dialect
        ) from error
