"""Record the outcome of an attempt on its notification and, for a webhook call, on the endpoint."""

import random
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from core.access import system_actors
from core.models.notification import Notification, NotificationAttempt, Webhook
from core.notifications import queue
from core.notifications.claims import Claimed
from core.notifications.events import DisabledEndpoint, WebhookDisabled
from core.notifications.kinds import State
from core.notifications.webhooks.addresses import origin
from core.notifications.webhooks.endpoints import BY_FAILURES
from core.records import audit

NO_SERVER = "no SMTP server is configured"
FAILURES_ALLOWED = 20  # in a row; with the waits between them, most of a day
CALL_WAITS_S = (5.0, 2 * 3600.0)  # the first wait, which doubles each time, and the longest
MAIL_WAITS_S = (30.0, 3600.0)
LONGEST_ERROR = 500


class AttemptOutcome(msgspec.Struct, frozen=True):
    """The attempt succeeded if ``error`` is None. ``is_final``: a retry would change nothing.

    ``code`` is the HTTP status or the SMTP reply code. ``error`` never holds personal data.
    """

    code: int | None = None
    error: str | None = None
    is_final: bool = False
    duration_ms: int = 0


def record_mail(session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime) -> None:
    _record(session, claimed, outcome, now, now + retry_wait(claimed.number, MAIL_WAITS_S))


def record_call(session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime) -> bool:
    """Store a call's outcome for notification and endpoint. Return True if it disabled the endpoint."""
    # The endpoint's row is locked first, as in `core.notifications.webhooks.endpoints`.
    webhook = session.get_one(Webhook, claimed.webhook_id, with_for_update={"key_share": True})
    _record(session, claimed, outcome, now, now + retry_wait(claimed.number, CALL_WAITS_S))
    if outcome.error is None:
        webhook.failures, webhook.retry_at, webhook.last_error = 0, None, None
        webhook.last_success_at = now
        return False
    webhook.failures += 1
    webhook.retry_at = now + retry_wait(webhook.failures, CALL_WAITS_S)
    webhook.last_error = outcome.error
    if webhook.failures < FAILURES_ALLOWED or webhook.disabled_at or webhook.deleted_at:
        return False
    _disable(session, webhook, now)
    return True


def record_waiting(session: Session, reason: str, now: datetime) -> int:
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


def retry_wait(number: int, waits_s: tuple[float, float]) -> timedelta:
    """Return the wait after failure ``number``: doubled each time, with jitter over its upper half."""
    first_s, longest_s = waits_s
    ceiling_s = min(longest_s, first_s * 2 ** min(number - 1, 30))
    return timedelta(seconds=random.uniform(ceiling_s / 2, ceiling_s))  # noqa: S311  # spreads load


def _record(
    session: Session, claimed: Claimed, outcome: AttemptOutcome, now: datetime, retry_at: datetime
) -> None:
    """Record a success even if it is late; record a failure only if no other sender has claimed it since."""
    error = outcome.error[:LONGEST_ERROR] if outcome.error is not None else None
    attempt = update(NotificationAttempt).where(
        NotificationAttempt.notification_id == claimed.sequence, NotificationAttempt.number == claimed.number
    )
    session.execute(
        attempt.values(finished_at=now, duration_ms=outcome.duration_ms, code=outcome.code, error=error)
    )
    notification = update(Notification).where(Notification.id == claimed.sequence)
    values: dict[str, Any] = {"error": error}
    if error is None:
        values |= {"state": State.SENT, "finished_at": now}
    else:
        notification = notification.where(
            Notification.state == State.QUEUED, Notification.attempts == claimed.number
        )
        values["next_attempt_at"] = retry_at
        if outcome.is_final:
            values |= {"state": State.FAILED, "finished_at": now}
    session.execute(notification.values(**values))


def _disable(session: Session, webhook: Webhook, now: datetime) -> None:
    webhook.disabled_at, webhook.disabled_because = now, BY_FAILURES
    system = system_actors.system_actor_of(session, webhook.company_id)
    audit.note(session, system, "disabled", webhook, {"failures": {"after": webhook.failures}})
    # Only the origin: the URL's path may hold a token, and other endpoints receive this event too.
    event = WebhookDisabled(
        webhook=DisabledEndpoint(id=webhook.id, url=origin(webhook.url)),
        failures=webhook.failures,
        error=webhook.last_error,
    )
    queue.queue(session, webhook.company_id, event, now)
