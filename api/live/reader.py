"""Run database reads off the event loop, a few at a time, so that many sockets leave connections to REST."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session, sessionmaker

THREADS = 4
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class DatabaseReader:
    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="live-read")

    async def read(
        self,
        function: Callable[Concatenate[Session, Arguments], Value],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Value:
        """Call ``function(session, …)`` in a thread. Nothing is committed unless the function commits."""

        def call() -> Value:
            with self._sessions() as session:
                return function(session, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, call)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
