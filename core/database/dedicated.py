"""A connection outside every pool, in autocommit mode: it keeps an advisory lock, or listens for NOTIFY."""

import select
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions

from core.database.deadlines import BoundedConnection
from core.database.engine import connect_arguments
from core.settings import Settings

Connection = psycopg2.extensions.connection


class Readable(Protocol):
    def fileno(self) -> int: ...


def connect(settings: Settings, process: str) -> Connection:
    url = settings.database_url.get_secret_value().replace("+psycopg2", "", 1)
    connection: Connection = psycopg2.connect(
        url, **connect_arguments(process), connection_factory=BoundedConnection
    )
    connection.autocommit = True
    return connection


def execute(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, if it has any. Raises `psycopg2.Error`."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def listen(connection: Connection, channel: str) -> None:
    connection.autocommit = True  # a notification arrives only between transactions
    execute(connection, f"LISTEN {channel}")


def wait_notified(connection: Connection, timeout_s: float, *others: Readable) -> bool:
    """Wait for a notification or for input from ``others``; return whether a notification has come.

    Raises `psycopg2.Error` when the connection is lost.
    """
    # A statement may already have received the notification, and the socket would not become readable.
    if _take_notifications(connection):
        return True
    select.select([connection, *others], [], [], timeout_s)
    return _take_notifications(connection)


def _take_notifications(connection: Connection) -> bool:
    connection.poll()
    is_notified = bool(connection.notifies)
    connection.notifies.clear()
    return is_notified
