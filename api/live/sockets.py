"""``/ws/delivery/{delivery_id}/``: one watching client, from its token to its close.

The order matters: the socket joins its group, the subscription stands, then the snapshot is read; what is
announced meanwhile waits in the mailbox. Nothing a client sends raises past this module.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from api import scopes
from api.authentication import Authenticated, authenticate, note_use
from api.live import codes, reads
from api.live.credentials import BadOpening, Opening, Way, first_message, opening
from api.live.events import (
    PING,
    PONG,
    RESYNC,
    Complaint,
    client_message,
    complaint,
    location_event,
    status_event,
)
from api.live.groups import Group, Member
from api.live.live import Live
from api.live.mailbox import Mailbox
from api.live.protocol import ABORT, ADMIT
from core import isolation
from core.errors import Forbidden, NotAuthenticated, NotFound
from core.models import Role
from core.settings import Settings

AUTH_TIMEOUT_S = 5.0
SUBSCRIBE_TIMEOUT_S = 5.0
PING_INTERVAL_S = 20.0
SEND_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
LONGEST_TIMER_S = 30 * 24 * 3600.0
FLUSH_TIMEOUT_S = 5.0
PROBLEM = "application/problem+json"

log = logging.getLogger(__name__)
router = APIRouter()


class Refused(Exception):
    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(reason or codes.REASONS[code])
        self.code = code


class Viewer:
    """Someone admitted to a delivery, and the last checkpoint they have seen (None: they are new)."""

    def __init__(
        self, who: Authenticated, person: reads.Person, target: reads.Target, last_checkpoint: int | None
    ) -> None:
        self.who = who
        self.person = person
        self.target = target
        self.last_checkpoint = last_checkpoint


@router.websocket("/ws/delivery/{delivery_id}/")
async def watch_delivery(websocket: WebSocket, delivery_id: str) -> None:
    """Live positions and status changes of one delivery."""
    live: Live = websocket.app.state.live
    task: Any = asyncio.current_task()
    live.sockets.add(task)
    try:
        viewer = await _welcome(websocket, live, delivery_id)
        if viewer is not None:
            await _watch(websocket, live, viewer)
    except Refused as refused:
        live.metrics.closed.labels(refused.code).inc()
        await _close(websocket, refused.code, str(refused))
    except WebSocketDisconnect:
        pass
    finally:
        live.sockets.discard(task)


async def _welcome(websocket: WebSocket, live: Live, delivery_id: str) -> Viewer | None:
    """Accept and admit. None when the handshake itself was answered with 401."""
    headers = websocket.headers
    try:
        hello = opening(
            headers.get("authorization"), websocket.scope.get("subprotocols", []), websocket.query_params
        )
    except BadOpening as bad:
        await websocket.accept()
        raise Refused(codes.BAD_REQUEST, str(bad)) from None
    if hello.way is not Way.HEADER:
        # A browser is told a close code, but never an HTTP status: so accept first.
        await websocket.accept(hello.subprotocol)
        return await _admit(live, await _with_token(websocket, hello), delivery_id)
    try:
        viewer = await _admit(live, hello, delivery_id)
    except Refused as refused:
        if refused.code == codes.NOT_AUTHENTICATED and await _answer_401(websocket):
            return None
        await websocket.accept(hello.subprotocol)
        raise
    await websocket.accept(hello.subprotocol)
    return viewer


async def _answer_401(websocket: WebSocket) -> bool:
    """Refuse the handshake with REST's own problem document; False when the server cannot."""
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
        JSONResponse(body, error.status_code, {"WWW-Authenticate": "Bearer"}, PROBLEM)
    )
    return True


async def _with_token(websocket: WebSocket, hello: Opening) -> Opening:
    """The opening, completed from the first message where it came without a token."""
    if hello.token is not None:
        return hello
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            message = await websocket.receive()
    except TimeoutError:
        raise Refused(codes.NOT_AUTHENTICATED, "no token within 5 seconds") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", codes.GOING_AWAY))
    try:
        return first_message(hello, message)
    except BadOpening as bad:
        raise Refused(codes.BAD_REQUEST, str(bad)) from None


async def _admit(live: Live, hello: Opening, delivery_id: str) -> Viewer:
    if live.is_stopping:
        raise Refused(codes.GOING_AWAY)
    number = (
        int(delivery_id) if delivery_id.isascii() and delivery_id.isdigit() and len(delivery_id) < 11 else 0
    )
    try:
        who, person, target = await live.reader.read(_read_viewer, live.settings, hello.token or "", number)
    except NotAuthenticated:
        raise Refused(codes.NOT_AUTHENTICATED) from None
    except Forbidden:
        raise Refused(codes.FORBIDDEN) from None
    except NotFound:
        raise Refused(codes.NOT_FOUND) from None
    except SQLAlchemyError as error:
        log.warning("the database did not answer error=%s", error)
        raise Refused(codes.TRY_AGAIN_LATER) from None
    return Viewer(who, person, target, hello.last_checkpoint)


def _read_viewer(
    session: Session, settings: Settings, token: str, delivery_id: int
) -> tuple[Authenticated, reads.Person, reads.Target]:
    """Raises `NotAuthenticated`, `Forbidden` or `NotFound`."""
    # One snapshot: the person that is watched from here on is the one whose token was checked.
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    who = authenticate(session, settings, token)
    scopes.require(who.actor, scopes.WATCH)
    isolation.enter(session, who.actor.company_id)
    holder = reads.Holder.of(who.actor)
    person = reads.people(session, [holder])[holder]
    target = reads.visible_target(session, who.actor, delivery_id)
    # In a transaction of its own: in this snapshot another's note would be a conflict.
    session.commit()
    note_use(session, who, datetime.now(UTC))
    session.commit()
    return who, person, target


async def _watch(websocket: WebSocket, live: Live, viewer: Viewer) -> None:
    websocket.scope.get("extensions", {}).get(ADMIT, lambda: None)()
    mailbox = Mailbox(live.metrics, is_customer=viewer.who.actor.role is Role.CUSTOMER)
    member = Member(viewer.who.actor, viewer.person, mailbox)
    group = live.groups.join(viewer.target, member)
    expiry = asyncio.get_running_loop().call_later(
        _seconds_left(viewer.who.expires_at), mailbox.close, codes.NOT_AUTHENTICATED
    )
    tasks = [
        asyncio.create_task(_send(websocket, live, group, member, viewer.last_checkpoint)),
        asyncio.create_task(_receive(websocket, mailbox)),
    ]
    try:
        await mailbox.closed.wait()
    finally:
        expiry.cancel()
        live.groups.leave(group, member)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if mailbox.close_code != codes.GONE:
        live.metrics.closed.labels(mailbox.close_code).inc()
        await _close(websocket, mailbox.close_code, codes.REASONS[mailbox.close_code])


def _seconds_left(expires_at: datetime | None) -> float:
    """A timer takes no eternity: whoever watches for a month logs in again."""
    if expires_at is None:
        return LONGEST_TIMER_S
    return min(LONGEST_TIMER_S, max(0.0, (expires_at - datetime.now(UTC)).total_seconds()))


async def _send(
    websocket: WebSocket, live: Live, group: Group, member: Member, last_checkpoint: int | None
) -> None:
    """The snapshot, then what comes to the mailbox; whatever goes wrong ends as the socket's close."""
    mailbox = member.mailbox
    try:
        for first in await _snapshot(live, group, member, last_checkpoint):
            await _send_text(websocket, live, first)
        while (text := await _next(mailbox)) is not None:
            await _send_text(websocket, live, text)
    except TimeoutError:
        mailbox.close(codes.TOO_SLOW)
    except NotFound:
        mailbox.close(codes.NOT_FOUND)
    except SQLAlchemyError as error:
        log.warning("the database did not answer delivery=%d error=%s", group.delivery, error)
        mailbox.close(codes.TRY_AGAIN_LATER)
    except (WebSocketDisconnect, RuntimeError):
        # Starlette and uvicorn say the latter of a socket that was closed under our hands.
        mailbox.close(codes.GONE)
    except Exception:
        log.exception("sending failed delivery=%d", group.delivery)
        mailbox.close(codes.TRY_AGAIN_LATER)


async def _snapshot(live: Live, group: Group, member: Member, last_checkpoint: int | None) -> list[str]:
    """What to send first. Read once the subscription stands, so that nothing falls between."""
    groups = live.groups
    if live.connected:
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                await groups.subscriptions.wait_active(group.topics)
        except TimeoutError:
            log.warning("not subscribed in time delivery=%d", group.delivery)
    stands, generation = groups.subscriptions.are_active(group.topics), groups.generation
    now = await live.reader.read(reads.snapshot, member.actor, group.delivery, last_checkpoint)
    groups.refresh(now.target)
    groups.set_baseline(group, now.checkpoint)
    if not stands or generation != groups.generation:
        groups.mark_behind(group)
    location = None
    if (position := now.target.position) is not None:
        location = location_event(position, group.delivery, now.target.dropoff)
    member.mailbox.skip_to(now.checkpoint, location.seen if location else None)
    events = [status_event(fact) for fact in now.statuses]
    told = [e.for_customer if member.actor.role is Role.CUSTOMER else e.for_staff for e in events]
    texts = [RESYNC] if now.resync else []
    texts += [text for text in told if text is not None]
    return [*texts, location.text] if location else texts


async def _next(mailbox: Mailbox) -> str | None:
    try:
        async with asyncio.timeout(PING_INTERVAL_S):
            return await mailbox.next()
    except TimeoutError:
        return PING


async def _send_text(websocket: WebSocket, live: Live, text: str) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await websocket.send_text(text)
    live.metrics.sent.inc()


async def _receive(websocket: WebSocket, mailbox: Mailbox) -> None:
    code = codes.GONE
    try:
        while (message := await websocket.receive())["type"] == "websocket.receive":
            _answer(mailbox, message.get("text"))
        if message.get("code") == codes.TOO_MUCH:
            code = codes.TOO_MUCH  # the protocol has closed; this counts it
    finally:
        mailbox.close(code)


def _answer(mailbox: Mailbox, text: str | None) -> None:
    """Ping gets pong; a client's pong and a second auth need no answer."""
    message = client_message(text) if text is not None else None
    match message.type if message else None:
        case "ping":
            mailbox.offer_answer("pong", PONG)
        case "pong" | "auth":
            pass
        case _:
            wrong: Complaint = "NotText" if text is None else "NotUnderstood"
            mailbox.offer_answer("error", complaint(wrong))


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Say why, if the client still listens; a connection that does not drain is cut."""
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
