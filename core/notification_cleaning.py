"""The end of notifications: what was not sent in time, and what is no longer kept."""

from datetime import datetime, timedelta

from sqlalchemy import CursorResult, text
from sqlalchemy.orm import Session

KEPT = timedelta(days=90)
BATCH = 5_000
_EXPIRE = text(
    "UPDATE notification SET state = 'expired', finished_at = :now,"
    " error = coalesce(error, 'not sent in time')"
    " WHERE id IN (SELECT id FROM notification WHERE state = 'queued' AND expires_at <= :now"
    " ORDER BY expires_at LIMIT :batch FOR NO KEY UPDATE SKIP LOCKED)"
)
_FORGET = text(
    "DELETE FROM notification WHERE id IN (SELECT id FROM notification"
    " WHERE created_at < :before AND state <> 'queued' LIMIT :batch FOR UPDATE SKIP LOCKED)"
)


def expire(session: Session, now: datetime) -> int:
    """Old news is not sent, it is shown as expired; one sent at this very moment becomes sent after all."""
    return _count(session, _EXPIRE, {"now": now, "batch": BATCH})


def forget(session: Session, now: datetime) -> int:
    """With their attempts, after `KEPT`."""
    return _count(session, _FORGET, {"before": now - KEPT, "batch": BATCH})


def _count(session: Session, statement: object, values: dict[str, object]) -> int:
    done = session.execute(statement, values)  # type: ignore[call-overload]
    assert isinstance(done, CursorResult)
    return done.rowcount
