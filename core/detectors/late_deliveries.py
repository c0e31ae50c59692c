"""Detect late deliveries: their window and the company's minutes of grace are over, but they have not ended.

The event is sent once the delivery is late, not when the ETA predicts it: an ETA by straight line is good
enough to be mentioned, but would call deliveries late that then arrive in time. It is not a checkpoint,
because no actor did anything to the delivery, and the report has the window and the end. The event is sent
once per window end, so moving the window may cause another one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.deliveries.whereabouts import expected_arrival
from core.models.company import Company
from core.models.delivery import LATE_WITHOUT_EVENT, Delivery
from core.notifications import queue
from core.notifications.events import DeliveryAtEvent, DeliveryLate
from core.notifications.queue import MAXIMUM_EVENT_AGE
from core.records import outbox
from core.rules.facts import AlertFact

ALERT = "late"
LONGEST_GRACE = timedelta(days=7)


def is_late(window_end: datetime, late_after_min: int, now: datetime) -> bool:
    """Return whether the delivery is late; False again a day later, when the event is too old."""
    late_since = window_end + timedelta(minutes=late_after_min)
    return late_since <= now < late_since + MAXIMUM_EVENT_AGE


def late_minutes(window_end: datetime, now: datetime) -> int:
    return int((now - window_end) / timedelta(minutes=1))


def find_without_event(session: Session, now: datetime) -> list[int]:
    """Return the late deliveries without an event, longest late first."""
    rows = session.execute(
        select(Delivery.id, Delivery.window_end, Company.late_after_min)
        .join(Company, Company.id == Delivery.company_id)
        .where(
            text(LATE_WITHOUT_EVENT),
            Delivery.window_end <= now,
            Delivery.window_end > now - MAXIMUM_EVENT_AGE - LONGEST_GRACE,
        )
        .order_by(Delivery.window_end)
    )
    return [row_id for row_id, end, grace_min in rows if end is not None and is_late(end, grace_min, now)]


def record_events(session: Session, delivery_ids: Sequence[int], now: datetime) -> int:
    """Queue notifications for deliveries that are still late; return how many.

    Deliveries that another process has locked are left to it.
    """
    rows = session.execute(
        select(Delivery, Company)
        .join(Company, Company.id == Delivery.company_id)
        .where(Delivery.id.in_(delivery_ids), text(LATE_WITHOUT_EVENT))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery, key_share=True, skip_locked=True)
    ).all()
    return sum(_record_event(session, delivery, company, now) for delivery, company in rows)


def _record_event(session: Session, delivery: Delivery, company: Company, now: datetime) -> bool:
    end = delivery.window_end
    if end is None or not is_late(end, company.late_after_min, now):
        return False
    delivery.late_told_for = end
    minutes = late_minutes(end, now)
    event = DeliveryLate(
        eta=expected_arrival(session, delivery, now),
        late_minutes=minutes,
        delivery=msgspec.convert(delivery, DeliveryAtEvent, from_attributes=True),
    )
    queue.queue(
        session,
        company.id,
        event,
        now,
        delivery=delivery,
        once=f"delivery:{delivery.id}:{end.isoformat()}",
    )
    if delivery.vehicle_id is not None:
        fact = AlertFact(
            company=company.slug,
            kind=ALERT,
            vehicle=delivery.vehicle_id,
            delivery=delivery.id,
            detail=f"delivery {delivery.id} is {minutes} min late",
            occurred_at=now,
        )
        outbox.add_fact(session, company.id, fact)
    return True
