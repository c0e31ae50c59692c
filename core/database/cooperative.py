"""Work that waits for the database on the event loop, written as if it blocked.

A thread a request costs more than most requests' work: two hand-overs, and a fight for the interpreter after
every answer of the database. `run` does the work in a greenlet of the loop's own thread instead: wherever its
connection would block, other requests go on. Between two waits nothing else runs, so it must do nothing else
that blocks (hashing a password, reading a file) and nothing long.

`CooperativeConnection` also sends less often: BEGIN goes with the first statement, what is sent `ahead` with
the next one or with COMMIT.
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

CONNECT_LIMIT_S = 5.0  # libpq keeps none of its own here
LIMIT_S = 20.0  # longer than the server's own limit on a statement
T = TypeVar("T")


async def run(call: Callable[[], T]) -> T:
    """``call()``, whose cooperative connections wait without holding up the loop.

    As with a thread, a caller that is cancelled does not end the work.
    """
    work = _Work(call, asyncio.get_running_loop())
    work.go_on()
    return await work.done


class _Work(greenlet, Generic[T]):
    """Whoever goes on with it is the loop's own greenlet, and it alone touches the loop's sockets: libuv
    keeps pointers into its stack, which lies elsewhere while a greenlet runs."""

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
        """Until it is done or waits for a socket or a coroutine, with which it goes on by itself."""
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
            # Raised where the work waits: left waiting for ever it would keep its connection and its slot.
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
    poll = select.poll()  # in a thread, which may block
    poll.register(descriptor, select.POLLIN if is_reading else select.POLLOUT)
    poll.poll()


def _resolve(host: str, port: str) -> list[str]:
    """libpq itself would look a name up holding up every thread: psycopg2 keeps the interpreter's lock."""
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
        # First: a value that cannot be sent must not take what goes ahead, the fence, with it.
        finished = self.mogrify(query, values)
        before = self.connection.take_ahead()
        self.connection.bounded(lambda: super(CooperativeCursor, self).execute(before + finished))


class CooperativeConnection(psycopg2.extensions.connection):
    """An asynchronous connection of psycopg2's behind the interface of an ordinary one; no COPY, no named
    cursors, no autocommit, no ``executemany``."""

    def __init__(self, dsn: str, *_arguments: Any) -> None:
        super().__init__(host_names.resolved(dsn, _resolve), True)  # type: ignore[call-arg]  # asynchronous
        self._ahead: list[bytes] = []
        self.limit_s = CONNECT_LIMIT_S
        self.bounded(lambda: None)
        self.limit_s = LIMIT_S

    def bounded(self, send: Callable[[], object]) -> None:
        """Send, then wait for the answer, no longer than the limit."""
        bounded(self, lambda: self._finish(send))

    def _finish(self, send: Callable[[], object]) -> None:
        send()
        while (state := self.poll()) != POLL_OK:
            try:
                _until_ready(self.fileno(), is_reading=state == POLL_READ)
            except OSError as error:
                self.close()  # in the middle of an answer it is of no more use
                raise psycopg2.OperationalError("the connection cannot be waited for") from error

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        return super().cursor(*arguments, **{**options, "cursor_factory": CooperativeCursor})

    def ahead(self, sql: bytes) -> None:
        """Finished SQL whose result nobody needs, to be sent with the next statement of the transaction, or
        with its COMMIT. What goes wrong with it is raised there."""
        self._ahead.append(sql)

    def take_ahead(self) -> bytes:
        """What goes before the next statement, a final semicolon included."""
        parts, self._ahead = self._ahead, []
        if self.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            parts.insert(0, b"BEGIN")
        return b"".join(part + b";" for part in parts)

    def commit(self) -> None:
        """Raises too what went wrong with the statements sent ahead; the transaction has ended then, as
        everybody expects of a COMMIT that failed."""
        if not self._ahead and self.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            return
        try:
            self._end(b"COMMIT")
        except psycopg2.Error:
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
