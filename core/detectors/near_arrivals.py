"""Detect near arrivals: deliveries in transit with an ETA within the company's threshold.

The event is sent once per vehicle that takes the delivery on. Only a fresh position counts, because an ETA
from an old one is a guess.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from core.deliveries.whereabouts import FRESH, expected_arrival
from core.models.company import Company
from core.models.delivery import ARRIVAL_UNTOLD, Delivery
from core.models.fleet import Vehicle
from core.notifications import queue
from core.notifications.kinds import Event
from core.rules.eta import eta
from core.rules.lifecycle import served_since


def is_soon(expected: datetime | None, arriving_soon_min: int, now: datetime) -> bool:
    """Return whether the arrival is near; never with a threshold of 0, which turns the event off."""
    if expected is None or not arriving_soon_min:
        return False
    return expected - now <= timedelta(minutes=arriving_soon_min)


def minutes_left(expected: datetime, now: datetime) -> int:
    return max(0, ceil((expected - now) / timedelta(minutes=1)))


def untold(session: Session, now: datetime) -> list[int]:
    """Return the deliveries that arrive soon and have no event yet."""
    rows = session.execute(
        select(
            Delivery.id,
            Delivery.started_at,
            Delivery.vehicle_since,
            Delivery.dropoff_latitude,
            Delivery.dropoff_longitude,
            Vehicle.position_time,
            Vehicle.position_latitude,
            Vehicle.position_longitude,
            Vehicle.smoothed_speed_kmh,
            Company.arriving_soon_min,
        )
        .join(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .join(Company, Company.id == Delivery.company_id)
        .where(
            text(ARRIVAL_UNTOLD),
            Vehicle.position_time >= now - FRESH,
            Delivery.dropoff_latitude.is_not(None),
            Delivery.dropoff_longitude.is_not(None),
            Company.arriving_soon_min > 0,
        )
        .order_by(Delivery.id)
    )
    return [row["id"] for row in rows.mappings() if is_soon(_expected(row), row["arriving_soon_min"], now)]


def _expected(row: RowMapping) -> datetime | None:
    """Compute the ETA as `core.deliveries.whereabouts.whereabouts` does, without a query per delivery."""
    if row["position_time"] < served_since(row["started_at"], row["vehicle_since"]):
        return None
    return eta(
        row["position_time"],
        row["position_latitude"],
        row["position_longitude"],
        row["smoothed_speed_kmh"],
        (row["dropoff_latitude"], row["dropoff_longitude"]),
    )


def tell(session: Session, delivery_ids: Sequence[int], now: datetime) -> int:
    """Queue notifications for deliveries that still arrive soon; return how many.

    Deliveries that another process has locked are left to it.
    """
    rows = session.execute(
        select(Delivery, Company.arriving_soon_min)
        .join(Company, Company.id == Delivery.company_id)
        .where(Delivery.id.in_(delivery_ids), text(ARRIVAL_UNTOLD))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery, key_share=True, skip_locked=True)
    ).all()
    told = [_tell(session, delivery, soon_min, now) for delivery, soon_min in rows]
    return sum(told)


def _tell(session: Session, delivery: Delivery, arriving_soon_min: int, now: datetime) -> bool:
    expected = expected_arrival(session, delivery, now)
    if expected is None or not is_soon(expected, arriving_soon_min, now):
        return False
    delivery.arriving_soon_told_at = now
    since = "" if delivery.vehicle_since is None else delivery.vehicle_since.isoformat()
    queue.queue(
        session,
        Event.ARRIVING_SOON,
        delivery.company_id,
        {"eta": expected, "minutes": minutes_left(expected, now)},
        now,
        delivery=delivery,
        once=f"delivery:{delivery.id}:{since}",
    )
    return True
