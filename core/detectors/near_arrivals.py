"""Detect near arrivals: deliveries in transit with an ETA within the company's threshold.

The event is sent once per vehicle that takes the delivery on. Only a fresh position counts, because an ETA
from an old one is a guess.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.deliveries.whereabouts import FRESH, expected_arrival, expected_arrival_of
from core.models.company import Company
from core.models.delivery import NEAR_WITHOUT_EVENT, Delivery
from core.models.fleet import Vehicle
from core.notifications import queue
from core.notifications.events import ArrivingSoon, DeliveryAtEvent
from core.positions.vehicle_position import VEHICLE_COLUMNS


def is_soon(expected: datetime | None, arriving_soon_min: int, now: datetime) -> bool:
    """Return whether the arrival is near; never with a threshold of 0, which disables the event."""
    if expected is None or not arriving_soon_min:
        return False
    return expected - now <= timedelta(minutes=arriving_soon_min)


def minutes_left(expected: datetime, now: datetime) -> int:
    return max(0, ceil((expected - now) / timedelta(minutes=1)))


def find_without_event(session: Session, now: datetime) -> list[int]:
    """Return the deliveries that arrive soon and have no event yet."""
    rows: Iterable[Any] = session.execute(
        select(
            Delivery.id,
            Delivery.status,
            Delivery.started_at,
            Delivery.vehicle_since,
            Delivery.dropoff_latitude,
            Delivery.dropoff_longitude,
            *VEHICLE_COLUMNS,
            Company.arriving_soon_min,
        )
        .join(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .join(Company, Company.id == Delivery.company_id)
        .where(
            text(NEAR_WITHOUT_EVENT),
            Vehicle.position_time >= now - FRESH,
            Delivery.dropoff_latitude.is_not(None),
            Delivery.dropoff_longitude.is_not(None),
            Company.arriving_soon_min > 0,
        )
        .order_by(Delivery.id)
    )
    return [row.id for row in rows if is_soon(expected_arrival_of(row, row, now), row.arriving_soon_min, now)]


def record_events(session: Session, delivery_ids: Sequence[int], now: datetime) -> int:
    """Queue notifications for deliveries that still arrive soon; return how many.

    Deliveries that another process has locked are left to it.
    """
    rows = session.execute(
        select(Delivery, Company.arriving_soon_min)
        .join(Company, Company.id == Delivery.company_id)
        .where(Delivery.id.in_(delivery_ids), text(NEAR_WITHOUT_EVENT))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery, key_share=True, skip_locked=True)
    ).all()
    return sum(_record_event(session, delivery, soon_min, now) for delivery, soon_min in rows)


def _record_event(session: Session, delivery: Delivery, arriving_soon_min: int, now: datetime) -> bool:
    expected = expected_arrival(session, delivery, now)
    if expected is None or not is_soon(expected, arriving_soon_min, now):
        return False
    delivery.arriving_soon_told_at = now
    since = "" if delivery.vehicle_since is None else delivery.vehicle_since.isoformat()
    event = ArrivingSoon(
        eta=expected,
        minutes=minutes_left(expected, now),
        delivery=msgspec.convert(delivery, DeliveryAtEvent, from_attributes=True),
    )
    queue.queue(
        session,
        delivery.company_id,
        event,
        now,
        delivery=delivery,
        once=f"delivery:{delivery.id}:{since}",
    )
    return True
