"""Database access from the event loop: blocking-style code that runs in greenlets.

A thread per request costs more than the work of most requests: two hand-overs, and contention for the GIL
after every response of the database. `run` instead runs the work in a greenlet on the event loop's thread;
wherever its connection would block, other requests continue. Between two waits nothing else runs, so the work
must not block in any other way (hash a password, read a file) or compute for long.

`CooperativeConnection` also needs fewer round trips: BEGIN is sent with the first statement, and SQL given to
`ahead` is sent with the next statement or with COMMIT.
"""

import asyncio
import select
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import psycopg2
import psycopg2.extensions
from greenlet import getcurrent, greenlet
from psycopg2.extensions import POLL_OK, POLL_READ, TRANSACTION_STATUS_IDLE

from core.database import host_names
from core.database.deadlines import bounded

CONNECT_LIMIT_S = 5.0  # libpq applies no connect time-out to asynchronous connections
LIMIT_S = 20.0  # longer than the server's statement_timeout
T = TypeVar("T")


async def run(call: Callable[[], T]) -> T:
    """Run ``call()`` in a greenlet; its cooperative connections wait without blocking the event loop.

    As with a thread, cancelling the caller does not stop the work.
    """
    work = _Work(call, asyncio.get_running_loop())
    work.go_on()
    return await work.done


class _Work(greenlet, Generic[T]):
    """One call in its own greenlet.

    Only the event loop's greenlet resumes it and registers sockets with the loop: libuv keeps pointers into
    the stack, and while another greenlet runs that stack has been moved elsewhere.
    """

    def __init__(self, call: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.call = call
        self.loop = loop
        self.done: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        try:
            result = self.call()
        except BaseException as error:
            if not self.done.cancelled():
                self.done.set_exception(error)
        else:
            if not self.done.cancelled():
                self.done.set_result(result)

    def go_on(self) -> None:
        """Resume the call until it finishes, or waits for a socket or a coroutine that will resume it."""
        self._wait_for(self.switch())

    def _wait_for(self, wanted: Any) -> None:
        if wanted is None:
            return
        if isinstance(wanted, Coroutine):
            self.loop.create_task(wanted).add_done_callback(self._go_on_with)
            return
        try:
            self._watch(*wanted)
        except (OSError, RuntimeError, ValueError) as error:
            # Raise the error inside the call: a call that waited forever would keep its connection and slot.
            self._wait_for(self.throw(OSError(str(error))))

    def _watch(self, descriptor: int, is_reading: bool) -> None:
        if is_reading:
            self.loop.add_reader(descriptor, self._read_on, descriptor)
        else:
            self.loop.add_writer(descriptor, self._write_on, descriptor)

    def _go_on_with(self, task: asyncio.Task[Any]) -> None:
        self._wait_for(self.switch(task))

    def _read_on(self, descriptor: int) -> None:
        self.loop.remove_reader(descriptor)
        self.go_on()

    def _write_on(self, descriptor: int) -> None:
        self.loop.remove_writer(descriptor)
        self.go_on()


def _until_ready(descriptor: int, *, is_reading: bool) -> None:
    work = getcurrent()
    if isinstance(work, _Work):
        assert work.parent is not None
        work.parent.switch((descriptor, is_reading))
        return
    poll = select.poll()  # not in a greenlet but in an ordinary thread, which may block
    poll.register(descriptor, select.POLLIN if is_reading else select.POLLOUT)
    poll.poll()


def _resolve(host: str, port: str) -> list[str]:
    """Resolve a host name outside libpq, during whose look-up psycopg2 would hold the GIL."""
    work = getcurrent()
    if not isinstance(work, _Work):
        return host_names.addresses(host, port)
    assert work.parent is not None
    wait = asyncio.wait_for(host_names.find_addresses(work.loop, host, port), CONNECT_LIMIT_S)
    task: asyncio.Task[list[str]] = work.parent.switch(wait)
    return task.result()


class CooperativeCursor(psycopg2.extensions.cursor):
    connection: "CooperativeConnection"

    def execute(self, query: Any, values: Any = None) -> None:
        # Format the query first: if a value cannot be adapted, the SQL queued ahead (which sets the RLS role)
        # must stay queued.
        finished = self.mogrify(query, values)
        before = self.connection.take_ahead()
        self.connection.bounded(lambda: super(CooperativeCursor, self).execute(before + finished))


class CooperativeConnection(psycopg2.extensions.connection):
    """An asynchronous psycopg2 connection with the interface of a synchronous one.

    It supports no COPY, no named cursors, no autocommit and no ``executemany``.
    """

    def __init__(self, dsn: str, *_arguments: Any) -> None:
        super().__init__(host_names.resolved(dsn, _resolve), True)  # type: ignore[call-arg]  # asynchronous
        self._ahead: list[bytes] = []
        self.limit_s = CONNECT_LIMIT_S
        self.bounded(lambda: None)
        self.limit_s = LIMIT_S

    def bounded(self, send: Callable[[], object]) -> None:
        """Send a statement and wait for its response, at most ``limit_s`` seconds."""
        bounded(self, lambda: self._finish(send))

    def _finish(self, send: Callable[[], object]) -> None:
        send()
        while (state := self.poll()) != POLL_OK:
            try:
                _until_ready(self.fileno(), is_reading=state == POLL_READ)
            except OSError as error:
                self.close()  # a half-read response leaves the connection unusable
                raise psycopg2.OperationalError("the connection cannot be waited for") from error

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        return super().cursor(*arguments, **{**options, "cursor_factory": CooperativeCursor})

    def ahead(self, sql: bytes) -> None:
        """Queue SQL without placeholders, to be sent with the transaction's next statement or its COMMIT.

        Its result is discarded, and its errors are raised by the statement that it is sent with.
        """
        self._ahead.append(sql)

    def take_ahead(self) -> bytes:
        """Return and clear the SQL to send before the next statement, each part ending in a semicolon."""
        parts, self._ahead = self._ahead, []
        if self.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            parts.insert(0, b"BEGIN")
        return b"".join(part + b";" for part in parts)

    def commit(self) -> None:
        """Commit the transaction; raises the errors of queued SQL as well."""
        if not self._ahead and self.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            return
        try:
            self._end(b"COMMIT")
        except psycopg2.Error:
            # If queued SQL failed, the transaction is still open; callers expect a failed COMMIT to end it.
            if not self.closed:
                self.rollback()
            raise

    def rollback(self) -> None:
        self._ahead.clear()
        if self.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            self._end(b"ROLLBACK")

    def _end(self, how: bytes) -> None:
        with self.cursor() as cursor:
            cursor.execute(how)
