"""Responses streamed from the database: complete, or visibly broken off."""

import logging
from collections.abc import AsyncIterator, Generator

import anyio
import psycopg2
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.dependencies import Authorized
from api.gate import Gate, Holder
from api.http.protocol import BREAK_OFF
from core.errors import DomainError

MAXIMUM_STREAMS = 4  # of the threads' 10 connections, so that slow clients leave enough to the others
MAXIMUM_OF_COMPANY = 2
STREAM_TIMEOUT_S = 120.0
STALL_TIMEOUT_S = 45.0  # shorter than PostgreSQL's time-out for a transaction that is idle meanwhile
log = logging.getLogger(__name__)


class Busy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__(
            "Too many long answers are on their way; ask again in some seconds.", retry_after_s=5
        )


def make_streams() -> Gate:
    """Return the gate of this process's streamed responses."""
    return Gate(Busy, slots=MAXIMUM_STREAMS, per_company=MAXIMUM_OF_COMPANY)


class DatabaseStream(StreamingResponse):
    """Send the chunks of a generator that holds a database connection; always close the generator.

    An error before the first chunk becomes an ordinary problem response. After a later error, or when the
    client reads nothing for `STALL_TIMEOUT_S` or not everything within `STREAM_TIMEOUT_S`, the connection is
    broken off, so that the client does not take a part for the whole.
    """

    def __init__(
        self,
        streams: Gate,
        authorized: Authorized,
        chunks: Generator[bytes, None, None],
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        self._streams = streams
        self._authorized = authorized
        self._chunks = chunks
        super().__init__(iter(()), media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        holder = Holder.of(await run_in_threadpool(self._authorized.require_known))
        is_started = False
        with self._streams.slot(holder):
            try:
                with anyio.fail_after(STREAM_TIMEOUT_S):
                    first = await run_in_threadpool(next, self._chunks, b"")
                    is_started = True
                    self.body_iterator = self._all(first)
                    await super().__call__(scope, receive, _impatient(send))
            except (TimeoutError, SQLAlchemyError, psycopg2.Error) as error:
                break_off = scope.get("extensions", {}).get(BREAK_OFF)
                if not is_started or break_off is None:
                    raise
                log.warning("stream_broken_off error=%s", type(error).__name__)
                break_off()
            finally:
                await self._give_back()

    async def _all(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for chunk in iterate_in_threadpool(self._chunks):
            yield chunk

    async def _give_back(self) -> None:
        """Close the generator's transaction."""
        with anyio.CancelScope(shield=True):
            try:
                await run_in_threadpool(self._chunks.close)
            # PostgreSQL may have ended the transaction; the response is broken off by then.
            except Exception as error:
                log.warning("stream_not_closed error=%s", type(error).__name__)


def _impatient(send: Send) -> Send:
    async def bounded(message: Message) -> None:
        with anyio.fail_after(STALL_TIMEOUT_S):
            await send(message)

    return bounded
