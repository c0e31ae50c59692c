"""Connections: every one bounded in time, so that no stall outlives an MQTT keep-alive."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from core.deadlines import BoundedConnection
from core.settings import Settings

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 15


def make_engine(settings: Settings, *, process: str, pool_size: int = 5, overflow: int = 5) -> Engine:
    """An engine whose connections carry all time-outs. ``process`` is what ``pg_stat_activity`` shows."""
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        # What stands in rows (names, hashes) must not reach a log with an error.
        hide_parameters=True,
        connect_args={**connect_arguments(process), "connection_factory": BoundedConnection},
    )


def connect_arguments(process: str) -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
        "keepalives_idle": 15,
        "application_name": f"milepost-{process}",
        "options": (
            f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_S}s -c statement_timeout={STATEMENT_TIMEOUT_S}s"
            " -c idle_in_transaction_session_timeout=60s"
        ),
    }


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Whoever opens a session commits it; nothing expires, so returned rows stay readable."""
    return sessionmaker(engine, expire_on_commit=False)


def sqlstate(error: DBAPIError) -> str:
    """The five-character code, or ``""`` when the connection died before the server could say one."""
    return getattr(error.orig, "pgcode", None) or ""


@contextmanager
def driver_cursor(connection: Connection) -> Iterator[Any]:
    """The psycopg2 cursor below a SQLAlchemy connection, inside its transaction: for COPY.

    Its errors become SQLAlchemy's `DBAPIError`, and a connection that died is given up, as always.
    """
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except psycopg2.Error as error:
        is_lost = connection.dialect.is_disconnect(error, connection.connection, cursor)  # type: ignore[arg-type]
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, psycopg2.Error, connection_invalidated=is_lost, dialect=connection.dialect
        ) from error
