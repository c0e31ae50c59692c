"""Serve one watching client while its socket is open: snapshot, live events, pings and answers."""

import asyncio
import logging
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.orm import Session
from starlette.websockets import WebSocket

from api.auth import scopes
from api.auth.authentication import Authenticated, credential_of, enter, note_use
from api.live import close_codes
from api.live.events import (
    RESYNC,
    location_event,
    status_event,
)
from api.live.live import Live
from api.live.socket.messages import close, receive
from api.live.socket.protocol import ADMIT
from api.live.watchers.groups import Group, Watcher
from api.live.watchers.mailbox import Mailbox, write
from core.accounts import token_holders
from core.deliveries import watched
from core.rules.enums import Role
from core.settings import Settings

SUBSCRIBE_TIMEOUT_S = 5.0
LONGEST_TIMER_S = 30 * 24 * 3600.0

log = logging.getLogger(__name__)


class Viewer:
    """An actor admitted to a delivery, with the last checkpoint the client has seen (None: a new client)."""

    def __init__(
        self,
        who: Authenticated,
        person: token_holders.Person,
        target: watched.WatchedDelivery,
        last_checkpoint: int | None,
    ) -> None:
        self.who = who
        self.person = person
        self.target = target
        self.last_checkpoint = last_checkpoint


def read_viewer(
    session: Session, settings: Settings, token: str, delivery_id: int
) -> tuple[Authenticated, token_holders.Person, watched.WatchedDelivery]:
    """Authenticate and authorise the client. Raises `NotAuthenticated`, `Forbidden` or `NotFound`."""
    # One snapshot, so that the person watched from here on is the one whose token was checked.
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    who = enter(session, credential_of(settings, token), datetime.now(UTC))
    scopes.require(who.actor, scopes.WATCH)
    holder = token_holders.TokenHolder.of(who.actor)
    person = token_holders.people(session, [holder])[holder]
    target = watched.visible_target(session, who.actor, delivery_id)
    # In its own transaction: in this snapshot a concurrent `note_use` would be a serialization failure.
    session.commit()
    if who.is_use_due:
        note_use(session, who, datetime.now(UTC))
        session.commit()
    return who, person, target


async def watch(websocket: WebSocket, live: Live, viewer: Viewer) -> None:
    websocket.scope.get("extensions", {}).get(ADMIT, lambda: None)()
    mailbox = Mailbox(live.metrics, is_customer=viewer.who.actor.role is Role.CUSTOMER)
    member = Watcher(viewer.who.actor, viewer.person, mailbox)
    group = live.groups.join(viewer.target, member)
    expiry = asyncio.get_running_loop().call_later(
        _seconds_left(viewer.who.expires_at), mailbox.close, close_codes.NOT_AUTHENTICATED
    )
    snapshot = partial(_snapshot, live, group, member, viewer.last_checkpoint)
    tasks = [
        asyncio.create_task(write(mailbox, websocket, snapshot, group.delivery)),
        asyncio.create_task(receive(websocket, mailbox)),
    ]
    try:
        await mailbox.closed.wait()
    finally:
        expiry.cancel()
        live.groups.leave(group, member)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if mailbox.close_code != close_codes.GONE:
        live.metrics.closed.labels(mailbox.close_code).inc()
        await close(websocket, mailbox.close_code, close_codes.REASONS[mailbox.close_code])


def _seconds_left(expires_at: datetime | None) -> float:
    """Return the time until the token expires, capped at `LONGEST_TIMER_S`."""
    # A timer cannot wait for ever: a client that watches for 30 days must log in again.
    if expires_at is None:
        return LONGEST_TIMER_S
    return min(LONGEST_TIMER_S, max(0.0, (expires_at - datetime.now(UTC)).total_seconds()))


async def _snapshot(live: Live, group: Group, member: Watcher, last_checkpoint: int | None) -> list[str]:
    """Return the first texts to send. Reading once the subscription is active leaves no gap."""
    groups = live.groups
    if live.connected:
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                await groups.subscriptions.wait_active(group.topics)
        except TimeoutError:
            log.warning("not subscribed in time delivery=%d", group.delivery)
    is_subscribed, generation = groups.subscriptions.are_active(group.topics), groups.generation
    now = await live.reader.read(watched.snapshot, member.actor, group.delivery, last_checkpoint)
    groups.refresh(now.target)
    groups.set_baseline(group, now.checkpoint)
    if not is_subscribed or generation != groups.generation:
        groups.mark_behind(group)
    location = None
    if (position := now.target.position) is not None:
        location = location_event(position, group.delivery, now.target.dropoff)
    member.mailbox.skip_to(now.checkpoint, location.seen if location else None)
    events = [status_event(fact) for fact in now.statuses]
    shown = [e.for_customer if member.actor.role is Role.CUSTOMER else e.for_staff for e in events]
    texts = [RESYNC] if now.resync else []
    texts += [text for text in shown if text is not None]
    return [*texts, location.text] if location else texts
