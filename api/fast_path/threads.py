"""The threads of the fast path: Starlette's own hand-over to a thread costs more than a small read."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import TimeoutError as PoolTimeout

THREADS = 4  # each may hold a database connection; more contend for the GIL without doing more
WAIT_S = 5.0
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class FastThreads:
    """`THREADS` threads and the queue before them. Used from the event loop only."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fast-path")
        self._free = asyncio.Semaphore(THREADS)

    async def run(
        self, call: Callable[Arguments, Value], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Value:
        """Call the function in a thread. Raises `PoolTimeout` when none is free within `WAIT_S`."""
        try:
            # In Python 3.11 `asyncio.wait_for` swallows a cancellation that coincides with the result.
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            # The same error as a full connection pool's: answered 503, like a database that is away.
            raise PoolTimeout("all threads of the fast path are in use") from None
        work = self._threads.submit(copy_context().run, partial(call, *args, **kwargs))
        loop = asyncio.get_running_loop()
        # Cancelling the request does not end the work: only its end frees the thread.
        work.add_done_callback(lambda _work: loop.call_soon_threadsafe(self._free.release))
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
