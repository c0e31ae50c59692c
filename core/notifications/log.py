"""The notification log: read by managers and operators, resent by managers."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.errors import Conflict
from core.models.notification import Notification, NotificationAttempt, Webhook
from core.notifications import expiry, recipients
from core.notifications.kinds import Audience, Event, State
from core.notifications.queue import CHANNEL
from core.records import audit

MAXIMUM_ATTEMPTS = 200  # attempts shown per notification


class NotificationSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Filters; None: no filter."""

    state: State | None = None
    event: Event | None = None
    audience: Audience | None = None
    delivery_id: int | None = None
    webhook_id: int | None = None


def page(
    session: Session, actor: Actor, selection: NotificationSelection, *, before_id: int | None, limit: int
) -> Sequence[Notification]:
    """Return a page of the log, newest first."""
    scoping.require_company_reader(actor)
    query = select(Notification).where(scoping.is_ours(actor, Notification))
    if before_id is not None:
        query = query.where(Notification.id < before_id)
    for name, value in msgspec.structs.asdict(selection).items():
        if value is not None:
            query = query.where(getattr(Notification, name) == value)
    return session.scalars(query.order_by(Notification.id.desc()).limit(limit)).all()


def find(session: Session, actor: Actor, notification_id: int) -> Notification:
    return scoping.find(session, actor, Notification, notification_id)


def attempts(session: Session, notification: Notification) -> Sequence[NotificationAttempt]:
    """Return the last attempts, in order."""
    query = (
        select(NotificationAttempt)
        .where(NotificationAttempt.notification_id == notification.id)
        .order_by(NotificationAttempt.number.desc())
        .limit(MAXIMUM_ATTEMPTS)
    )
    return session.scalars(query).all()[::-1]


def resend(session: Session, actor: Actor, notification_id: int, now: datetime) -> Notification:
    """Queue a notification again in any state, with the same event id and Message-ID and a new lifetime.

    An e-mail goes to the recipient's present address, since a wrong one may have been why it failed.

    Raises `Conflict` when there is no recipient any more. A notification that is being sent is left alone.
    """
    row = scoping.lock(session, actor, Notification, notification_id)
    _require_receiver(session, row)
    if row.state == State.QUEUED and _is_being_sent(session, row, now):
        return row
    row.state, row.next_attempt_at = State.QUEUED, now
    row.expires_at = now + expiry.life(Event(row.event), Audience(row.audience))
    row.finished_at = row.error = None
    audit.note(session, actor, "resent", row)
    session.flush()
    session.execute(select(func.pg_notify(CHANNEL, "")))
    return row


def _require_receiver(session: Session, row: Notification) -> None:
    if row.webhook_id is None:
        if row.recipient is None:
            raise Conflict("The recipient's data were erased.")
        row.recipient = recipients.present_address(session, row)
    elif session.get_one(Webhook, row.webhook_id).deleted_at is not None:
        raise Conflict("The webhook was removed.")


def _is_being_sent(session: Session, row: Notification, now: datetime) -> bool:
    last = select(NotificationAttempt.finished_at).where(
        NotificationAttempt.notification_id == row.id, NotificationAttempt.number == row.attempts
    )
    found = session.execute(last).one_or_none()
    return found is not None and found.finished_at is None and row.next_attempt_at > now
