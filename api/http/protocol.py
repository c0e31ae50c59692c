"""uvicorn's HTTP protocol with bounds that it lacks: on headers, and on half-open connections.

* A request's headers and trailers are limited to `MAXIMUM_HEADERS` and `MAXIMUM_HEADER_BYTES` in total; more
  are answered 431.
* A client has `HALF_OPEN_S` from connecting to its first byte, again for all headers, and again for each
  `PROGRESS_BYTES` of the body. Otherwise it is answered 408, if it sent anything, and the connection is
  closed. The clock stops while the server is the slow side: while reading is paused, or before it asks for
  the body (100-continue).
* A client that reads nothing of a response for `UNREAD_S` is disconnected.
* The scope's extension `BREAK_OFF` ends a response that cannot be completed; an exception would as well,
  but with a stack trace in the log.
* At most `MAXIMUM_PIPELINED` requests wait behind the one that is being answered.

A slow client that keeps sending or reading is never cut off. This relies on uvicorn's internals, hence the
bounds on the versions of uvicorn and httptools in pyproject.toml.
"""

import asyncio
import socket
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.errors import problem

BREAK_OFF = "milepost.break_off"
MAXIMUM_HEADER_BYTES = 64 * 1024
MAXIMUM_HEADERS = 128  # the same number as the WebSocket library's
HALF_OPEN_S = 30.0
PROGRESS_BYTES = 1024
UNREAD_S = 120.0
MAXIMUM_PIPELINED = 32  # one read holds 14,000 requests, and each costs some KB until it is served
FLUSH_S = 5.0
# Otherwise the kernel grows it to megabytes, and a slow reader would seem to read nothing for minutes.
SOCKET_BUFFER_BYTES = 256 * 1024
_REFUSALS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "HeadersTooLarge",
        f"Send at most {MAXIMUM_HEADERS} headers of {MAXIMUM_HEADER_BYTES} bytes in all.",
    ),
    HTTPStatus.REQUEST_TIMEOUT: (
        "RequestTimeout",
        f"Send the headers within {HALF_OPEN_S:.0f} s, and {PROGRESS_BYTES} bytes of the body in each.",
    ),
}


class TooMuch(Exception):
    """Raised through the parser, which reports it as an invalid request."""


class HttpProtocol(HttpToolsProtocol):
    """Pass this to ``uvicorn.Config(http=HttpProtocol)``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_in_body = False
        self._header_bytes = self._headers_seen = 0
        self._are_headers_too_large = False
        self._is_parsed = False  # the parser called back for the present data
        self._unparsed_bytes = 0  # bytes since the last callback: an endless header
        self._owed_since: float | None = (
            self.loop.time()
        )  # waiting for the client since; None: idle keep-alive
        self._body_bytes = 0  # since the clock was set
        self._unread_bytes, self._unread_since = 0, 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = cast(socket.socket, transport.get_extra_info("socket"))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self._timer = self.loop.call_later(HALF_OPEN_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._stop_looking()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self._owed_since is None:
            self._owed_since = self.loop.time()
        self._is_parsed = False
        super().data_received(data)
        self._unparsed_bytes = 0 if self._is_parsed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > MAXIMUM_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        if self._are_headers_too_large:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif len(self.pipeline) >= MAXIMUM_PIPELINED:
            self._close()
        else:
            super().send_400_response(msg)

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAXIMUM_PIPELINED:
            raise TooMuch
        super().on_message_begin()
        self._is_in_body = False
        self._header_bytes = self._headers_seen = 0
        self._owed_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_seen += 1
        self._count(len(name) + len(value))
        if not self._is_in_body:  # a trailer must not pass for a header (RFC 9110, 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cast(dict[str, Any], self.scope)["extensions"] = {BREAK_OFF: partial(self._break_off, self.cycle)}
        self._is_in_body = self._is_parsed = True
        self._restart_clock()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._is_parsed = True
        self._body_bytes += len(body)
        # Body sent after the response gets no more time.
        if self._body_bytes >= PROGRESS_BYTES and not self.cycle.response_complete:
            self._restart_clock()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_parsed, self._is_in_body = True, False
        self._owed_since = None

    def _count(self, header_bytes: int) -> None:
        self._is_parsed = True
        self._header_bytes += header_bytes
        if self._header_bytes > MAXIMUM_HEADER_BYTES or self._headers_seen > MAXIMUM_HEADERS:
            self._are_headers_too_large = True
            raise TooMuch

    # --- the clock ---

    def _restart_clock(self) -> None:
        self._owed_since = self.loop.time()
        self._body_bytes = 0

    def _look(self) -> None:
        """Abort or refuse a client that is over its time; otherwise look again when the time runs out."""
        if self._is_unread():
            self.transport.abort()
            return
        if self._owed_since is not None and self._waits_for_us():
            self._restart_clock()
        left = HALF_OPEN_S
        if self._owed_since is not None:
            left -= self.loop.time() - self._owed_since
        if left <= 0 and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        self._timer = self.loop.call_later(left if left > 0 else HALF_OPEN_S, self._look)

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _waits_for_us(self) -> bool:
        """Return whether reading is paused, an earlier request is unanswered or the body is not awaited."""
        is_at_work = self.cycle is not None and not self.cycle.response_complete
        return self.flow.read_paused or (
            is_at_work and (not self._is_in_body or self.cycle.waiting_for_100_continue)
        )

    def _is_unread(self) -> bool:
        waiting, now = self.transport.get_write_buffer_size(), self.loop.time()
        if not waiting or waiting != self._unread_bytes:
            self._unread_bytes, self._unread_since = waiting, now
        return now - self._unread_since >= UNREAD_S

    # --- refusals ---

    def _refuse(self, status: HTTPStatus) -> None:
        """Close, with a response if the client can match it to its request."""
        if self._may_answer():
            self.transport.write(_rendered(status))
        self._close()

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True  # uvicorn then expects no end of the response
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self.loop.call_later(FLUSH_S, self.transport.abort)

    def _may_answer(self) -> bool:
        if self.scope is None:
            return False  # no byte has arrived
        if self._is_in_body:
            return not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete


def _rendered(status: HTTPStatus) -> bytes:
    name, detail = _REFUSALS[status]
    response = problem(status, name, status.phrase, detail, headers={"Connection": "close"})
    lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", response.body])
