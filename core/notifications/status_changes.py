"""The notifications of a status change, queued in its transaction."""

from datetime import datetime

import msgspec
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.notification import Notification
from core.notifications import expiry
from core.notifications.events import DeliveryAtEvent, StatusChanged
from core.notifications.kinds import State
from core.notifications.queue import queue
from core.rules.enums import Status
from core.rules.lifecycle import FINAL


def queue_status_change(
    session: Session,
    delivery: Delivery,
    checkpoint: DeliveryCheckpoint,
    previous_status: Status,
    now: datetime,
) -> None:
    if checkpoint.status in FINAL:
        _expire_forecasts(session, delivery.id, now)
    event = StatusChanged(
        status=checkpoint.status,
        previous_status=previous_status,
        reason=checkpoint.reason,
        delivery=msgspec.convert(delivery, DeliveryAtEvent, from_attributes=True),
    )
    queue(
        session,
        delivery.company_id,
        event,
        now,
        occurred_at=checkpoint.occurred_at,
        delivery=delivery,
        checkpoint_id=checkpoint.id,
    )


def _expire_forecasts(session: Session, delivery_id: int, now: datetime) -> None:
    """Expire queued e-mails whose forecast is moot; one whose attempt is running may still become sent."""
    session.execute(
        update(Notification)
        .where(
            Notification.delivery_id == delivery_id,
            Notification.state == State.QUEUED,
            Notification.webhook_id.is_(None),
            Notification.event.in_(sorted(expiry.UNTIL_THE_END)),
        )
        .values(state=State.EXPIRED, finished_at=now, error=expiry.HAS_ENDED)
        .execution_options(synchronize_session=False)
    )
