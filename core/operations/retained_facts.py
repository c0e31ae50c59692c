"""Clear retained facts: a delivery's a day after its end, and an archived vehicle's."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.deliveries.open_facts import KEPT_AFTER_END
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.records import outbox

BATCH = 500
SETTLED_AFTER = timedelta(minutes=3)


def clear_ended(session: Session, now: datetime) -> int:
    """Queue the clearing of at most `BATCH` facts; return how many.

    Rows that another process has locked are left to it.
    """
    ended = session.execute(
        select(Delivery, Company.slug)
        .join(Company, Company.id == Delivery.company_id)
        .where(Delivery.fact_retained, Delivery.ended_at <= now - KEPT_AFTER_END)
        .order_by(Delivery.id)
        .limit(BATCH)
        .with_for_update(of=Delivery, key_share=True, skip_locked=True)
    ).all()
    for delivery, slug in ended:
        outbox.clear_retained(
            session, outbox.OutboxKind.DELIVERY_GONE, delivery.company_id, slug, delivery.id
        )
        delivery.fact_retained = False
    return len(ended)


def clear_archived(session: Session, now: datetime) -> int:
    """Clear recently archived vehicles again: a position may have followed just after the first time."""
    archived = session.execute(
        select(Vehicle.id, Vehicle.company_id, Company.slug)
        .join(Company, Company.id == Vehicle.company_id)
        .where(Vehicle.archived_at > now - SETTLED_AFTER)
    ).all()
    for vehicle_id, company_id, slug in archived:
        outbox.clear_retained(session, outbox.OutboxKind.VEHICLE_GONE, company_id, slug, vehicle_id)
    return len(archived)
