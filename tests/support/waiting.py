"""Waiting for something that another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    predicate: Callable[[], Value], timeout: float = 10.0, what: str = "", poll: float = 0.02
) -> Value:
    """Poll until ``predicate`` is true; gives what it returned. Raises `TimeoutError` that says ``what``."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            wanted = what or getattr(predicate, "__name__", repr(predicate))
            raise TimeoutError(f"not within {timeout:g} s: {wanted} (last: {value!r})")
        time.sleep(poll)
