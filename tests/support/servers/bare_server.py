"""A uvicorn with our protocols around a small ASGI application, and sockets that speak to it byte by byte."""

import json
import socket
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.http.protocol import HttpProtocol
from api.live import WebSocketProtocol
from api.main import MAXIMUM_SOCKET_MESSAGE
from tests.support.waiting import wait_until

Message = MutableMapping[str, Any]


class BareServer:
    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            port=0,
            loop="uvloop",
            http=HttpProtocol,
            ws=WebSocketProtocol,
            lifespan="off",
            ws_max_size=MAXIMUM_SOCKET_MESSAGE,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.port = 0

    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started, what="the server to start")
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()

    def connect(self, receive_buffer: int = 0) -> "Wire":
        return Wire(self.port, receive_buffer)


@contextmanager
def serving(app: ASGIApp) -> Iterator[BareServer]:
    server = BareServer(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Wire:
    """A client's socket. What the server does not take any more raises nothing."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False once the server has closed."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def until_closed(self) -> bytes:
        """All that is still to come; raises `TimeoutError` if the server does not close."""
        received = b""
        try:
            while piece := self.socket.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received

    def answer(self) -> bytes:
        """One answer's head and what came with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self.socket.recv(65536)
            assert piece, f"closed after {received!r}"
            received += piece
        return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> str:
    """The name in a problem document."""
    name: str = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return name
