"""Answers that are streamed from the database, whole or visibly broken off."""

from collections.abc import AsyncIterator, Generator

import anyio
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import DomainError

MAXIMUM_STREAMS = 4  # of the threads' 10 connections, so that slow readers leave enough to everybody else
STREAM_TIMEOUT_S = 120.0


class Busy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__(
            "Too many long answers are on their way; ask again in some seconds.", retry_after_s=5
        )


class Streams:
    """How many are on their way in this process. Used from the event loop only."""

    def __init__(self, maximum: int = MAXIMUM_STREAMS) -> None:
        self.free = maximum


class DatabaseStream(StreamingResponse):
    """Sends what a generator yields that holds a connection, and closes it however the sending ends.

    What the generator raises before its first chunk becomes an ordinary problem answer; later, or when the
    reader is slower than `STREAM_TIMEOUT_S`, the connection is broken off: a part is not taken for all.
    """

    def __init__(
        self,
        streams: Streams,
        chunks: Generator[bytes, None, None],
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        self._streams = streams
        self._chunks = chunks
        super().__init__(iter(()), media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams.free <= 0:
            raise Busy
        self._streams.free -= 1
        try:
            with anyio.fail_after(STREAM_TIMEOUT_S):
                first = await run_in_threadpool(next, self._chunks, b"")
                self.body_iterator = self._all(first)
                await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._chunks.close)
            self._streams.free += 1

    async def _all(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for chunk in iterate_in_threadpool(self._chunks):
            yield chunk
