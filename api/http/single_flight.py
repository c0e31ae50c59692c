"""Share blocking work among callers: one run at a time, in a thread of its own."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

Value = TypeVar("Value")


class SingleFlight(Generic[Value]):
    """Callers that arrive while the work is running share its result.

    The work has its own thread: the requests' threads may all be waiting for the same frozen database.
    """

    def __init__(self, work: Callable[[], Value]) -> None:
        self._work = work
        self._running: asyncio.Task[Value] | None = None

    async def ask(self, within_s: float) -> Value:
        """Return the work's result. Raises `TimeoutError`; the work then goes on for later callers."""
        if self._running is None or self._running.done():
            # In an empty context: otherwise work for all callers would log the first one's request id.
            self._running = asyncio.create_task(self._run(), context=Context())
        # Not `asyncio.wait_for`: that of Python 3.11 swallows a cancellation that coincides with the result.
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self._running)

    async def _run(self) -> Value:
        # Abandoned when the process ends: a daemon thread does not delay the exit.
        return await to_thread.run_sync(self._work, abandon_on_cancel=True, limiter=CapacityLimiter(1))

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
