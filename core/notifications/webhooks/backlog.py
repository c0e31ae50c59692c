"""An endpoint's backlog, when a manager changes the endpoint. The caller holds the endpoint's row lock."""

from datetime import datetime

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from core.models.notification import Notification
from core.notifications.kinds import State

_POSTPONED = text(
    "SELECT id FROM notification WHERE webhook_id = :webhook_id AND state = 'queued'"
    " AND next_attempt_at > created_at ORDER BY id FOR NO KEY UPDATE"
)
# A statement apart from the lock, so that it sees the attempt of a sender that was faster and leaves its
# lease alone.
_MAKE_DUE = text(
    "UPDATE notification n SET next_attempt_at = n.created_at WHERE n.id = ANY(:ids) AND NOT EXISTS ("
    " SELECT FROM notification_attempt a WHERE a.notification_id = n.id AND a.number = n.attempts"
    " AND a.finished_at IS NULL)"
)


def make_due(session: Session, webhook_id: int) -> None:
    """Make all postponed notifications due now, oldest first, except one that is being sent."""
    ids = list(session.scalars(_POSTPONED, {"webhook_id": webhook_id}))
    session.execute(_MAKE_DUE, {"ids": ids})


def fail_queued(session: Session, webhook_id: int, reason: str, now: datetime) -> None:
    """Fail all queued notifications; one whose attempt is running may still become sent."""
    session.execute(
        update(Notification)
        .where(Notification.webhook_id == webhook_id, Notification.state == State.QUEUED)
        .values(state=State.FAILED, finished_at=now, error=reason)
        .execution_options(synchronize_session=False)
    )
