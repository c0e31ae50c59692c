"""A delivery's retained status fact is cleared a day after its end."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.open_facts import KEPT_AFTER_END
from core import outbox
from core.models import Company, Delivery

BATCH = 500


def clear_ended(session: Session, now: datetime) -> int:
    """Queue the end of at most `BATCH` facts; gives how many. Rows another process holds are left to it."""
    ended = session.execute(
        select(Delivery, Company.slug)
        .join(Company, Company.id == Delivery.company_id)
        .where(Delivery.fact_retained, Delivery.ended_at <= now - KEPT_AFTER_END)
        .order_by(Delivery.id)
        .limit(BATCH)
        .with_for_update(of=Delivery, key_share=True, skip_locked=True)
    ).all()
    for delivery, slug in ended:
        outbox.clear_retained(session, outbox.Kind.DELIVERY_GONE, delivery.company_id, slug, delivery.id)
        delivery.fact_retained = False
    return len(ended)
