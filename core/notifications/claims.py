"""Claim due notifications and record the outcome of each attempt; `jobs` does the network I/O.

A claim is a lease: it moves ``next_attempt_at`` beyond the longest duration of an attempt and records the
attempt before it begins. A sender that dies in between leaves an attempt without an end, and the notification
is claimed again when the lease is over: at-least-once delivery, with the same event id.
"""

import random
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import CursorResult, Row, text, update
from sqlalchemy.orm import Session

from core.access import system_actors
from core.models.notification import Notification, NotificationAttempt, Webhook
from core.notifications import queue
from core.notifications.kinds import Event
from core.notifications.queue import State
from core.notifications.webhooks.addresses import origin
from core.notifications.webhooks.endpoints import BY_FAILURES
from core.records import audit

NO_SERVER = "no SMTP server is configured"
LEASE = timedelta(minutes=2)
FAILURES_ALLOWED = 20  # in a row; with the waits between them, most of a day
CALL_WAITS_S = (5.0, 2 * 3600.0)  # the first wait, which doubles each time, and the longest
MAIL_WAITS_S = (30.0, 3600.0)
INTERRUPTED = "interrupted: its sender ended before it knew the answer"
LONGEST_ERROR = 500
TRIES = 5


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to be made now; ``sequence`` orders the notifications of one delivery."""

    sequence: int
    number: int
    company_id: int
    event: str
    event_id: uuid.UUID
    audience: str
    recipient: str | None
    webhook_id: int | None
    payload: dict[str, Any]
    created_at: datetime


class AttemptOutcome(msgspec.Struct, frozen=True):
    """The attempt succeeded if ``error`` is None. ``is_final``: a retry would change nothing.

    ``code`` is the HTTP status or the SMTP reply code. ``error`` never holds personal data.
    """

    code: int | None = None
    error: str | None = None
    is_final: bool = False
    duration_ms: int = 0


_READY = "w.disabled_at IS NULL AND w.deleted_at IS NULL AND (w.retry_at IS NULL OR w.retry_at <= :now)"
_DUE = "n.state = 'queued' AND n.next_attempt_at <= :now AND n.expires_at > :now"
_CLAIMED = (
    "SELECT n.id, n.attempts, n.company_id, n.event, n.event_id, n.audience,"  # noqa: S608  # of constants
    " n.recipient, n.webhook_id,"
    f" n.payload, n.created_at FROM notification n WHERE {_DUE}"
)
_READY_WEBHOOKS = text(
    "SELECT w.id, w.company_id FROM webhook w CROSS JOIN LATERAL ("  # noqa: S608  # of constants
    f" SELECT n.next_attempt_at FROM notification n WHERE n.webhook_id = w.id AND {_DUE}"
    f" ORDER BY n.next_attempt_at LIMIT 1) first WHERE {_READY}"
    " AND w.id <> ALL(:busy) ORDER BY first.next_attempt_at LIMIT :limit"
)
_DUE_CALL = text(
    f"{_CLAIMED} AND n.webhook_id = ("  # noqa: S608
    f" SELECT w.id FROM webhook w WHERE w.id = :webhook_id AND {_READY})"
    " ORDER BY n.next_attempt_at, n.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
)
# Companies take turns: the next one is that after the company served last.
_COMPANY_WITH_MAIL = text(
    "SELECT c.id FROM company c WHERE EXISTS ("  # noqa: S608  # of constants
    f" SELECT FROM notification n WHERE n.company_id = c.id AND n.webhook_id IS NULL AND {_DUE})"
    " ORDER BY c.id <= :after, c.id LIMIT 1"
)
_DUE_MAIL = text(
    f"{_CLAIMED} AND n.company_id = :company_id AND n.webhook_id IS NULL"
    " ORDER BY n.next_attempt_at, n.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
)
_BEGIN = text(
    "WITH begun AS ("
    "  UPDATE notification SET attempts = attempts + 1, next_attempt_at = :until WHERE id = :id),"
    " interrupted AS (UPDATE notification_attempt SET error = :interrupted"
    "  WHERE notification_id = :id AND finished_at IS NULL)"
    " INSERT INTO notification_attempt (company_id, notification_id, number, started_at)"
    " VALUES (:company_id, :id, :number, :now)"
)


def ready_webhooks(
    session: Session, now: datetime, *, busy: Collection[int], limit: int
) -> list[tuple[int, int]]:
    """Return (webhook id, company id) of endpoints that are due and ready, except the ``busy`` ones."""
    values = {"now": now, "busy": list(busy), "limit": limit}
    return [(row.id, row.company_id) for row in session.execute(_READY_WEBHOOKS, values)]


def claim_call(session: Session, webhook_id: int, now: datetime) -> Claimed | None:
    """Claim the oldest call due for this endpoint."""
    row = session.execute(_DUE_CALL, {"webhook_id": webhook_id, "now": now}).one_or_none()
    return _begin(session, row, now)


def is_mail_due(session: Session, now: datetime) -> bool:
    """Return whether any e-mail is due, so that connecting to the SMTP server is worthwhile."""
    return session.scalar(_COMPANY_WITH_MAIL, {"after": 0, "now": now}) is not None


def claim_mail(session: Session, now: datetime, *, after_company: int) -> Claimed | None:
    """Claim the oldest due e-mail of the next company that has one."""
    for _ in range(TRIES):  # another sender may have claimed a company's last e-mail in the meantime
        after_company = session.scalar(_COMPANY_WITH_MAIL, {"after": after_company, "now": now}) or 0
        row = session.execute(_DUE_MAIL, {"company_id": after_company, "now": now}).one_or_none()
        if row is not None or after_company == 0:
            return _begin(session, row, now)
    return None


def _begin(session: Session, row: Row[Any] | None, now: datetime) -> Claimed | None:
    if row is None:
        return None
    fields = dict(row._mapping)
    claimed = Claimed(sequence=fields.pop("id"), number=fields.pop("attempts") + 1, **fields)
    values = {"id": row.id, "company_id": row.company_id, "number": claimed.number, "now": now}
    session.execute(_BEGIN, values | {"until": now + LEASE, "interrupted": INTERRUPTED})
    return claimed


def note_mail(session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime) -> None:
    _note_attempt(session, claimed, outcome, now)
    _note_notification(session, claimed, outcome, now, now + wait(claimed.number, MAIL_WAITS_S))


def note_call(session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime) -> bool:
    """Store a call's outcome for notification and endpoint. Return True if it disabled the endpoint."""
    # The endpoint's row is locked first, as in `core.notifications.webhooks.endpoints`.
    webhook = session.get_one(Webhook, claimed.webhook_id, with_for_update={"key_share": True})
    _note_attempt(session, claimed, outcome, now)
    _note_notification(session, claimed, outcome, now, now + wait(claimed.number, CALL_WAITS_S))
    if outcome.error is None:
        webhook.failures, webhook.retry_at, webhook.last_error = 0, None, None
        webhook.last_success_at = now
        return False
    webhook.failures += 1
    webhook.retry_at = now + wait(webhook.failures, CALL_WAITS_S)
    webhook.last_error = outcome.error
    if webhook.failures < FAILURES_ALLOWED or webhook.disabled_at or webhook.deleted_at:
        return False
    _disable(session, webhook, now)
    return True


def note_waiting(session: Session, reason: str, now: datetime) -> int:
    """Store why no due e-mail is being sent, without counting an attempt; return how many rows changed."""
    waiting = session.execute(
        update(Notification)
        .where(
            Notification.state == State.QUEUED,
            Notification.webhook_id.is_(None),
            Notification.next_attempt_at <= now,
            Notification.error.is_distinct_from(reason),
        )
        .values(error=reason)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(waiting, CursorResult)
    return waiting.rowcount


def wait(number: int, waits_s: tuple[float, float]) -> timedelta:
    """Return the wait after failure ``number``: doubled each time, with jitter over its upper half."""
    first_s, longest_s = waits_s
    ceiling_s = min(longest_s, first_s * 2 ** min(number - 1, 30))
    return timedelta(seconds=random.uniform(ceiling_s / 2, ceiling_s))  # noqa: S311  # spreads load


def _note_attempt(session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime) -> None:
    session.execute(
        update(NotificationAttempt)
        .where(
            NotificationAttempt.notification_id == claimed.sequence,
            NotificationAttempt.number == claimed.number,
        )
        .values(
            finished_at=now, duration_ms=outcome.duration_ms, code=outcome.code, error=_short(outcome.error)
        )
    )


def _note_notification(
    session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime, again_at: datetime
) -> None:
    """Record a success even if it is late; record a failure only if no other sender has claimed it since."""
    ours = update(Notification).where(Notification.id == claimed.sequence)
    if outcome.error is None:
        session.execute(ours.values(state=State.SENT, finished_at=now, error=None))
        return
    values: dict[str, Any] = {"error": _short(outcome.error), "next_attempt_at": again_at}
    if outcome.is_final:
        values |= {"state": State.FAILED, "finished_at": now}
    still_ours = (Notification.state == State.QUEUED, Notification.attempts == claimed.number)
    session.execute(ours.where(*still_ours).values(**values))


def _disable(session: Session, webhook: Webhook, now: datetime) -> None:
    webhook.disabled_at, webhook.disabled_because = now, BY_FAILURES
    system = system_actors.system_actor_of(session, webhook.company_id)
    audit.note(session, system, "disabled", webhook, {"failures": {"after": webhook.failures}})
    # Only the origin: the URL's path may hold a token, and other endpoints receive this event too.
    told = {"id": webhook.id, "url": origin(webhook.url)}
    facts = {"webhook": told, "failures": webhook.failures, "error": webhook.last_error}
    queue.queue(session, Event.WEBHOOK_DISABLED, webhook.company_id, facts, now)


def _short(error: str | None) -> str | None:
    return error[:LONGEST_ERROR] if error is not None else None
