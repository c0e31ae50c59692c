"""Watch for overdue notifications, expire those that are too old, and purge those kept long enough."""

from datetime import datetime, timedelta

from sqlalchemy import CursorResult, text
from sqlalchemy.orm import Session

from core.health import leader
from core.nightly.job_states import JobFailed
from core.notifications import expiry
from core.notifications.attempts import LONGEST_ERROR, NO_SERVER
from core.notifications.kinds import Audience, Event

OVERDUE_AFTER = timedelta(minutes=5)
KEPT = timedelta(days=90)
BATCH = 5_000
UNTRIED = "none was tried: does the sender run?"
_OVERDUE = text(
    "SELECT count(*) FILTER (WHERE n.error IS DISTINCT FROM :no_server) AS many,"
    " min(n.error) FILTER (WHERE n.error <> :no_server) AS reason,"
    " count(*) FILTER (WHERE n.error = :no_server) AS without_server FROM notification n"
    " LEFT JOIN webhook w ON w.id = n.webhook_id"
    " WHERE n.state = 'queued' AND n.next_attempt_at < :before AND n.expires_at > :now"
    " AND w.disabled_at IS NULL AND w.deleted_at IS NULL AND (w.retry_at IS NULL OR w.retry_at < :before)"
    # A slow endpoint that still accepts calls is the company's concern, not the operator's.
    " AND (w.last_success_at IS NULL OR w.last_success_at < :before)"
)
_WHY = " ".join(
    f"WHEN event = '{event}' AND (webhook_id IS NOT NULL) = {audience is Audience.WEBHOOK}"
    f" THEN '{expiry.why_expired(event, audience)}'"
    for event in Event
    for audience in (Audience.MANAGER, Audience.WEBHOOK)
)
_EXPIRE = text(
    "UPDATE notification SET state = 'expired', finished_at = :now,"  # noqa: S608  # of constants
    f" error = left(CASE {_WHY} ELSE 'not sent in time' END || coalesce(': ' || error, ''), {LONGEST_ERROR})"
    " WHERE id IN (SELECT id FROM notification WHERE state = 'queued' AND expires_at <= :now"
    " ORDER BY expires_at LIMIT :batch FOR NO KEY UPDATE SKIP LOCKED)"
)
_PURGE = text(
    "DELETE FROM notification WHERE id IN (SELECT id FROM notification"
    " WHERE created_at < :before AND state <> 'queued' LIMIT :batch FOR UPDATE SKIP LOCKED)"
)


def check_overdue(session: Session, now: datetime) -> str | None:
    """Return a warning about e-mails that wait for an SMTP server. Raises `JobFailed` for other overdue ones.

    A leader that has led for less than `OVERDUE_AFTER` is not blamed for the backlog that waited for it.
    """
    if _has_just_begun(session):
        return None
    values = {"now": now, "before": now - OVERDUE_AFTER, "no_server": NO_SERVER}
    row = session.execute(_OVERDUE, values).one()
    if row.many:
        raise JobFailed(
            f"{row.many} notifications are due for {OVERDUE_AFTER}; the reason: {row.reason or UNTRIED}"
        )
    return f"{row.without_server} e-mails wait: {NO_SERVER}" if row.without_server else None


def _has_just_begun(session: Session) -> bool:
    led_for = getattr(leader.read(session), "led_for", None)
    return led_for is not None and led_for < OVERDUE_AFTER


def expire_old(session: Session, now: datetime) -> int:
    """Expire old notifications, with the reason; one whose attempt is running may still become sent."""
    return _row_count(session, _EXPIRE, {"now": now, "batch": BATCH})


def purge_old(session: Session, now: datetime) -> int:
    """Purge notifications, with their attempts, after `KEPT`."""
    return _row_count(session, _PURGE, {"before": now - KEPT, "batch": BATCH})


def _row_count(session: Session, statement: object, values: dict[str, object]) -> int:
    done = session.execute(statement, values)  # type: ignore[call-overload]
    assert isinstance(done, CursorResult)
    return done.rowcount
