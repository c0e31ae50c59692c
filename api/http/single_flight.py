"""Blocking work that many wait for and that is done once at a time, in a thread of its own."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

Value = TypeVar("Value")


class SingleFlight(Generic[Value]):
    """Calls that come while the work is under way share its result.

    Its thread is not one of the requests' threads, which may all wait for the same frozen database.
    """

    def __init__(self, work: Callable[[], Value]) -> None:
        self._work = work
        self._running: asyncio.Task[Value] | None = None

    async def ask(self, within_s: float) -> Value:
        """Return the work's result. Raises `TimeoutError`; the work then goes on for later callers."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await asyncio.wait_for(asyncio.shield(self._running), within_s)

    async def _run(self) -> Value:
        # Abandoned when the process ends: a daemon thread holds nothing up.
        return await to_thread.run_sync(self._work, abandon_on_cancel=True, limiter=CapacityLimiter(1))

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
