"""Password hashing: slow by design, so few at once and in threads of their own.

A waiting request waits on the event loop, without a thread or a database connection that another request
could need. When too many wait, further ones are refused before any work is done for them.
"""

import os
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import Authorized
from api.gate import Gate
from core.accounts import passwords
from core.errors import DomainError

# Half of the cores: the event loop, the database and other requests need the rest.
THREADS = max(1, len(os.sched_getaffinity(0)) // 2)
# One hash takes tens of milliseconds: the last request in the queue waits a few seconds at most.
SLOTS = 256
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class TooManyHashes(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__("Too many people log in at once. Try again in some seconds.", retry_after_s=5)


class Hashing:
    """The gate and the threads of password hashing. Used from the event loop only.

    A request takes a slot of ``gate`` before any work is done for it.
    """

    def __init__(self, threads: int = THREADS, slots: int = SLOTS) -> None:
        self.gate = Gate(TooManyHashes, slots=slots)
        self.limiter = anyio.CapacityLimiter(threads)

    async def run(
        self, function: Callable[Arguments, Value], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Value:
        """Call a function that hashes or verifies, once one of the few threads is free."""
        return await run_sync(lambda: function(*args, **kwargs), limiter=self.limiter)


async def new_hash(authorized: Authorized, hashing: Hashing, password: str) -> str:
    """Return the hash of a new password, after checking that the actor may use this route."""
    with hashing.gate.slot():
        await run_in_threadpool(authorized.require_known)
        return await hashing.run(passwords.hash_password, password)


async def _hashing(request: Request) -> Hashing:
    hashing: Hashing = request.app.state.hashing
    return hashing


HashingOf = Annotated[Hashing, Depends(_hashing)]
