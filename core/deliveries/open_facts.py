"""The status facts that the broker should retain, as read from the database."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, and_, cast, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.deliveries.checkpoints import fact_of
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.record import Outbox
from core.records.outbox import OutboxKind
from core.rules.enums import ANNOUNCED
from core.rules.facts import StatusFact

KEPT_AFTER_END = timedelta(hours=24)


def read(session: Session, now: datetime) -> Iterator[StatusFact]:
    """Yield the newest fact of each delivery that is open, or ended in the last 24 hours and not yet cleared.

    Deliveries with an event still in the outbox are left out: the relay will publish it, and publishing the
    newest fact before it would make watchers skip it.
    """
    waiting = select(cast(Outbox.payload["delivery"].astext, BigInteger)).where(
        Outbox.kind == OutboxKind.STATUS, Outbox.parked_at.is_(None), Outbox.payload.has_key("delivery")
    )
    newest = (
        select(DeliveryCheckpoint, Company.slug, Delivery.customer_id)
        .ext(distinct_on(DeliveryCheckpoint.delivery_id))
        .join(Delivery, Delivery.id == DeliveryCheckpoint.delivery_id)
        .join(Company, Company.id == Delivery.company_id)
        .where(
            DeliveryCheckpoint.kind.in_(ANNOUNCED),
            or_(
                Delivery.ended_at.is_(None),
                and_(Delivery.fact_retained, Delivery.ended_at > now - KEPT_AFTER_END),
            ),
            Delivery.id.not_in(waiting),
        )
        .order_by(DeliveryCheckpoint.delivery_id, DeliveryCheckpoint.id.desc())
    )
    for checkpoint, slug, customer_id in session.execute(newest, execution_options={"yield_per": 1000}):
        yield fact_of(slug, checkpoint, customer_id)
