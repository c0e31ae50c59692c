"""Receive and close on a WebSocket, each bounded in time."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from api.live import close_codes
from api.live.events import (
    PONG,
    Complaint,
    client_message,
    complaint,
)
from api.live.socket.protocol import ABORT
from api.live.watchers.mailbox import Mailbox

CLOSE_TIMEOUT_S = 1.0
FLUSH_TIMEOUT_S = 5.0


class SocketRefused(Exception):
    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(reason or close_codes.REASONS[code])
        self.code = code


async def receive(websocket: WebSocket, mailbox: Mailbox) -> None:
    code = close_codes.GONE
    try:
        while (message := await websocket.receive())["type"] == "websocket.receive":
            _answer(mailbox, message.get("text"))
        if message.get("code") == close_codes.TOO_MUCH:
            code = close_codes.TOO_MUCH  # `WebSocketProtocol` has closed already; the code is only counted
    finally:
        mailbox.close(code)


def _answer(mailbox: Mailbox, text: str | None) -> None:
    """Answer ping with pong; a client's pong and a second auth need no answer."""
    message = client_message(text) if text is not None else None
    match message.type if message else None:
        case "ping":
            mailbox.offer_answer("pong", PONG)
        case "pong" | "auth":
            pass
        case _:
            wrong: Complaint = "NotText" if text is None else "NotUnderstood"
            mailbox.offer_answer("error", complaint(wrong))


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Send the close frame if the client still listens; abort a connection that does not drain."""
    abort = websocket.scope.get("extensions", {}).get(ABORT, lambda: None)
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await websocket.close(code, reason)
    except TimeoutError:
        abort()
    except (WebSocketDisconnect, RuntimeError):
        pass
    else:
        asyncio.get_running_loop().call_later(FLUSH_TIMEOUT_S, abort)
