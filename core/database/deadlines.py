"""A client-side time-out on every wait for the database, because a frozen server enforces none.

Both the server's ``statement_timeout`` and the kernel's ``tcp_user_timeout`` depend on the other end of the
connection. Here one thread per process checks the calls under way and shuts down the socket of any that takes
too long; libpq then reports a lost connection, which every caller knows how to handle.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import psycopg2.extensions

LOOK_EVERY_S = 1.0
IS_IN_EVERY_TRACEBACK = True  # for `core.nightly.job_states.where`

T = TypeVar("T")


class Bounded(Protocol):
    """A connection whose calls return or fail within about ``limit_s`` seconds."""

    limit_s: float

    def fileno(self) -> int: ...


class Watch:
    """The calls under way, at most one per connection, and the thread that enforces their deadlines."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[float, Bounded]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def bounded(self, connection: "Bounded", call: Callable[[], T]) -> T:
        """Run ``call()``; once the connection's limit has passed, its socket is shut down."""
        if self._thread is None:
            self._start()
        key = id(connection)
        self._calls[key] = (time.monotonic() + connection.limit_s, connection)
        try:
            return call()
        finally:
            self._calls.pop(key, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-deadlines", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for deadline, connection in list(self._calls.values()):
                if deadline < now:
                    _cut(connection)


def _cut(connection: Bounded) -> None:
    """Shut down the socket under libpq, so that the waiting call fails with a lost connection."""
    with (
        contextlib.suppress(psycopg2.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


_watch = Watch()
bounded = _watch.bounded


class BoundedCursor(psycopg2.extensions.cursor):
    """A psycopg2 cursor whose every wait for the server is bounded."""

    connection: "BoundedConnection"

    def execute(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).execute(*arguments))

    def executemany(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).executemany(*arguments))

    def fetchmany(self, *arguments: Any) -> list[tuple[Any, ...]]:
        # A server-side cursor, such as that of a track, makes a round trip for each chunk.
        return bounded(self.connection, lambda: super(BoundedCursor, self).fetchmany(*arguments))

    def copy_expert(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).copy_expert(*arguments))


class BoundedConnection(psycopg2.extensions.connection):
    """A connection for ``psycopg2.connect(connection_factory=…)`` whose every wait is bounded."""

    limit_s = 20.0  # longer than the server's statement_timeout

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        return super().cursor(*arguments, **{"cursor_factory": BoundedCursor, **options})

    def commit(self) -> None:
        bounded(self, super().commit)

    def rollback(self) -> None:
        bounded(self, super().rollback)
