"""``/ws/delivery/{delivery_id}/``: one client's WebSocket, from its token to its close.

The order matters: join the group, wait for the broker's subscription, then read the snapshot; events that
arrive meanwhile wait in the mailbox. Nothing that a client sends raises beyond this module.
"""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from api import request_ids
from api.live import close_codes
from api.live.live import Live
from api.live.socket.credentials import BadOpening, Opening, Way, first_message, opening
from api.live.socket.messages import SocketRefused, close
from api.live.socket.session import Viewer, read_viewer, watch
from core.errors import Forbidden, NotAuthenticated, NotFound

AUTH_TIMEOUT_S = 5.0
PROBLEM = "application/problem+json"

log = logging.getLogger(__name__)
router = APIRouter()


@router.websocket("/ws/delivery/{delivery_id}/")
async def watch_delivery(websocket: WebSocket, delivery_id: str) -> None:
    """Stream positions and status changes of one delivery."""
    live: Live = websocket.app.state.live
    task: Any = asyncio.current_task()
    live.sockets.add(task)
    try:
        viewer = await _welcome(websocket, live, delivery_id)
        if viewer is not None:
            await watch(websocket, live, viewer)
    except SocketRefused as refused:
        live.metrics.closed.labels(refused.code).inc()
        await close(websocket, refused.code, str(refused))
    except WebSocketDisconnect:
        pass
    finally:
        live.sockets.discard(task)


async def _welcome(websocket: WebSocket, live: Live, delivery_id: str) -> Viewer | None:
    """Accept and admit the client; return None when the handshake itself was answered with 401."""
    headers = websocket.headers
    try:
        hello = opening(
            headers.get("authorization"), websocket.scope.get("subprotocols", []), websocket.query_params
        )
    except BadOpening as bad:
        await _accept(websocket)
        raise SocketRefused(close_codes.BAD_REQUEST, str(bad)) from None
    if hello.way is not Way.HEADER:
        # Browsers see close codes but never an HTTP status, so accept before refusing.
        await _accept(websocket, hello.subprotocol)
        return await _admit(live, await _with_token(websocket, hello), delivery_id)
    try:
        viewer = await _admit(live, hello, delivery_id)
    except SocketRefused as refused:
        if refused.code == close_codes.NOT_AUTHENTICATED and await _answer_401(websocket):
            return None
        await _accept(websocket, hello.subprotocol)
        raise
    await _accept(websocket, hello.subprotocol)
    return viewer


async def _accept(websocket: WebSocket, subprotocol: str | None = None) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in request_ids.headers().items()]
    await websocket.accept(subprotocol, headers)


async def _answer_401(websocket: WebSocket) -> bool:
    """Refuse the handshake with REST's problem document; return False when the server cannot do that."""
    if "websocket.http.response" not in websocket.scope.get("extensions", {}):
        return False
    error = NotAuthenticated()
    body = {
        "type": f"/problems/{error.name}",
        "title": error.title,
        "status": error.status_code,
        "detail": error.detail,
        "error": error.name,
    }
    await websocket.send_denial_response(
        JSONResponse(
            body, error.status_code, {"WWW-Authenticate": "Bearer", **request_ids.headers()}, PROBLEM
        )
    )
    return True


async def _with_token(websocket: WebSocket, hello: Opening) -> Opening:
    """Return the opening, completed from the first message if the handshake carried no token."""
    if hello.token is not None:
        return hello
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            message = await websocket.receive()
    except TimeoutError:
        raise SocketRefused(close_codes.NOT_AUTHENTICATED, "no token within 5 seconds") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", close_codes.GOING_AWAY))
    try:
        return first_message(hello, message)
    except BadOpening as bad:
        raise SocketRefused(close_codes.BAD_REQUEST, str(bad)) from None


async def _admit(live: Live, hello: Opening, delivery_id: str) -> Viewer:
    if live.is_stopping:
        raise SocketRefused(close_codes.GOING_AWAY)
    number = (
        int(delivery_id) if delivery_id.isascii() and delivery_id.isdigit() and len(delivery_id) < 11 else 0
    )
    try:
        who, person, target = await live.reader.read(read_viewer, live.settings, hello.token or "", number)
    except NotAuthenticated:
        raise SocketRefused(close_codes.NOT_AUTHENTICATED) from None
    except Forbidden:
        raise SocketRefused(close_codes.FORBIDDEN) from None
    except NotFound:
        raise SocketRefused(close_codes.NOT_FOUND) from None
    except SQLAlchemyError as error:
        log.warning("the database did not answer error=%s", error)
        raise SocketRefused(close_codes.TRY_AGAIN_LATER) from None
    return Viewer(who, person, target, hello.last_checkpoint)
