"""The id of the request, or of ingest's batch, for which the present code runs.

Log lines name it, and rows that cause work in another process carry it: outbox, notification, user_link.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LONGEST = 64
CURRENT: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def carried_on(request_id: str | None) -> Iterator[None]:
    """Name the request that caused this work in the log lines and rows of the block; None: no request."""
    token = CURRENT.set(request_id)
    try:
        yield
    finally:
        CURRENT.reset(token)
