"""A bound on every wait for the database, kept by us: a frozen server keeps none of its own.

The server's ``statement_timeout`` and the kernel's ``tcp_user_timeout`` both need somebody at the other end.
Here one thread a process looks at what is under way and shuts the socket of what takes too long; libpq then
reports a lost connection, which every caller knows how to handle.
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

T = TypeVar("T")


class Bounded(Protocol):
    """A connection whose calls end, one way or another, within ``limit_s``."""

    limit_s: float

    def fileno(self) -> int: ...


class Watch:
    """The calls under way: each connection has at most one."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[float, Bounded]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def bounded(self, connection: "Bounded", call: Callable[[], T]) -> T:
        """``call()``, whose connection is cut once its limit has passed."""
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
    """Shut the socket under libpq: whoever waits on it wakes up to a lost connection."""
    with (
        contextlib.suppress(psycopg2.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


_watch = Watch()
bounded = _watch.bounded


class BoundedCursor(psycopg2.extensions.cursor):
    """psycopg2's cursor; everything that waits for the server is bounded."""

    connection: "BoundedConnection"

    def execute(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).execute(*arguments))

    def executemany(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).executemany(*arguments))

    def fetchmany(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """A server-side cursor asks the server here: a track's, between two chunks."""
        return bounded(self.connection, lambda: super(BoundedCursor, self).fetchmany(*arguments))

    def copy_expert(self, *arguments: Any) -> None:
        bounded(self.connection, lambda: super(BoundedCursor, self).copy_expert(*arguments))


class BoundedConnection(psycopg2.extensions.connection):
    """For ``psycopg2.connect(connection_factory=…)``. Longer than the server's own limit on a statement."""

    limit_s = 20.0

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        return super().cursor(*arguments, **{"cursor_factory": BoundedCursor, **options})

    def commit(self) -> None:
        bounded(self, super().commit)

    def rollback(self) -> None:
        bounded(self, super().rollback)
