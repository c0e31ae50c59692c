"""What waits for one endpoint, when a manager changes the endpoint. The caller holds the endpoint's lock."""

from datetime import datetime

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from core.models.notification import Notification
from core.notifications.queue import State

_POSTPONED = text(
    "SELECT id FROM notification WHERE webhook_id = :webhook_id AND state = 'queued'"
    " AND next_attempt_at > created_at ORDER BY id FOR NO KEY UPDATE"
)
# Apart from the lock, so that it sees the attempt of a sender that was just faster: its lease stays.
_HURRY = text(
    "UPDATE notification n SET next_attempt_at = n.created_at WHERE n.id = ANY(:ids) AND NOT EXISTS ("
    " SELECT FROM notification_attempt a WHERE a.notification_id = n.id AND a.number = n.attempts"
    " AND a.finished_at IS NULL)"
)


def hurry(session: Session, webhook_id: int) -> None:
    """All that waits to be tried again is due now, the oldest first; what is being sent just now is not."""
    ids = list(session.scalars(_POSTPONED, {"webhook_id": webhook_id}))
    session.execute(_HURRY, {"ids": ids})


def give_up(session: Session, webhook_id: int, reason: str, now: datetime) -> None:
    """Nothing of what waits will be sent; what is being sent just now may still become so."""
    session.execute(
        update(Notification)
        .where(Notification.webhook_id == webhook_id, Notification.state == State.QUEUED)
        .values(state=State.FAILED, finished_at=now, error=reason)
        .execution_options(synchronize_session=False)
    )
