"""uvicorn's WebSocket protocol with features that ASGI cannot express.

* The application can abort a connection: a client that never reads would hold its buffers for ever. Buffers
  are bounded, and a shutdown closes with 1001 (going away).
* Frames and bytes are bounded (`Allowance`), tightly until the application has admitted the client. Data is
  parsed in pieces: one read can hold 40,000 frames, and each costs the event loop 7 microseconds.
* A handshake that the library refuses is answered; uvicorn would leave it hanging.
"""

import asyncio
import logging
import socket
from http import HTTPStatus
from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from api.live import close_codes
from api.live.socket.allowance import Allowance

ABORT = "milepost.abort"
ADMIT = "milepost.admit"
PIECE_BYTES = 1024  # at most 170 frames
MAXIMUM_SUBPROTOCOLS = 32
HIGH_WATER_BYTES = 32 * 1024
SOCKET_BUFFER_BYTES = 128 * 1024
SHUTDOWN_FLUSH_S = 1.0
FLUSH_S = 5.0
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = logging.getLogger(__name__)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Pass this to ``uvicorn.Config(ws=WebSocketProtocol)``.

    It adds two functions to the scope's extensions: `ABORT` aborts the connection, `ADMIT` records that the
    client is authenticated.
    """

    allowance: Allowance
    _is_cut_off = False  # what the client still sends is dropped unread

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.allowance = Allowance()
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        connection = cast(socket.socket, self.transport.get_extra_info("socket"))
        # Otherwise the kernel grows it to megabytes for a client that does not read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._is_cut_off:
            return
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated and self.conn.handshake_exc is not None:
                self._refuse_handshake()
            return
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            if self._is_cut_off or self.transport.is_closing():
                return
            if not self.allowance.takes(self.loop.time(), size=len(piece)):
                self._cut_off()
                return
            super().data_received(piece)

    def handle_events(self) -> None:
        if self.allowance.takes(self.loop.time(), frames=len(self.conn.events)):
            super().handle_events()
        else:
            self._cut_off()

    def handle_connect(self, event: Request) -> None:
        offered = event.headers.get_all("Sec-WebSocket-Protocol")
        if sum(header.count(",") + 1 for header in offered) > MAXIMUM_SUBPROTOCOLS:
            too_many = f"More than {MAXIMUM_SUBPROTOCOLS} subprotocols.\n"
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.conn.send_response(self.conn.reject(status, too_many))
            self._refuse_handshake()
            return
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions = cast(dict[str, object], self.scope["extensions"])
            extensions[ABORT] = self.transport.abort
            extensions[ADMIT] = lambda: self.allowance.admit(self.loop.time())

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # Otherwise uvicorn 0.54 logs an error for every handshake that was answered with a status.
            self.handshake_complete = True

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": close_codes.GOING_AWAY})
            self.conn.send_close(close_codes.GOING_AWAY)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.loop.call_later(SHUTDOWN_FLUSH_S, self.transport.abort)
        super().shutdown()

    def _refuse_handshake(self) -> None:
        """Send the library's answer, or a plain 400 where it has none (an invalid HTTP request)."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()) or BAD_REQUEST)
        self._close()

    def _cut_off(self) -> None:
        log.info("socket_cut_off reason=too_much is_admitted=%s", self.allowance.is_admitted)
        if self.conn.state is State.OPEN:
            reason = close_codes.REASONS[close_codes.TOO_MUCH]
            self.conn.fail(close_codes.TOO_MUCH, reason)
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": close_codes.TOO_MUCH, "reason": reason}
            )
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self._close()
        else:  # the handshake is unanswered, or a close frame has been sent
            self.transport.abort()

    def _close(self) -> None:
        # Not at once: with input unread TCP resets the connection, and the client would never see why.
        self._is_cut_off = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        # As uvicorn's own timer it also keeps uvicorn from closing when the application has ended.
        self.close_timer = self.loop.call_later(FLUSH_S, self.transport.abort)
