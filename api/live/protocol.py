"""uvicorn's WebSocket protocol with what ASGI has no word for.

A connection may be cut (a client that never reads would otherwise hold its buffers for ever), its buffers are
bounded, and a shutdown says 1001, going away.
"""

import asyncio
import socket
from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.live import codes

ABORT = "milepost.abort"
HIGH_WATER_BYTES = 32 * 1024
SOCKET_BUFFER_BYTES = 128 * 1024
SHUTDOWN_FLUSH_S = 1.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn.Config(ws=WebSocketProtocol)``. The scope's extension `ABORT` is a function that cuts."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        connection = cast(socket.socket, self.transport.get_extra_info("socket"))
        # Left alone the kernel would grow it to megabytes for a client that does not read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions = cast(dict[str, object], self.scope["extensions"])
            extensions[ABORT] = self.transport.abort

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # Or uvicorn 0.54 logs an error for every handshake that was answered with a status.
            self.handshake_complete = True

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": codes.GOING_AWAY})
            self.conn.send_close(codes.GOING_AWAY)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.loop.call_later(SHUTDOWN_FLUSH_S, self.transport.abort)
        super().shutdown()
