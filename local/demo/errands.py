"""Slow calls in order on one background thread, so that the vans never wait for the API."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Errands:
    """A daemon thread: the process's end abandons a call in progress."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="demo-errands", daemon=True).start()

    def send(self, call: Callable[[], Result]) -> Future[Result]:
        """Queue ``call`` after the earlier ones; the future holds its result or its exception."""
        future: Future[Result] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)

        self._queue.put(run)
        return future

    def _run(self) -> None:
        while True:
            self._queue.get()()
