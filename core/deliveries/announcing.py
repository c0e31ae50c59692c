"""Write a checkpoint and queue its event in the outbox."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import checkpoints
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.records import outbox
from core.rules.enums import CheckpointKind


def announce(
    session: Session,
    delivery: Delivery,
    kind: CheckpointKind,
    actor: Actor,
    now: datetime,
    *,
    occurred_at: datetime | None = None,
    occurred_at_sent: datetime | None = None,
    reason: str | None = None,
    location: tuple[float, float] | None = None,
) -> DeliveryCheckpoint:
    checkpoint = checkpoints.write(
        session,
        delivery,
        kind,
        actor,
        occurred_at=occurred_at or now,
        occurred_at_sent=occurred_at_sent,
        now=now,
        reason=reason,
        location=location,
    )
    delivery.fact_retained = True
    fact = checkpoints.fact_of(actor.company_slug, checkpoint, delivery.customer_id)
    outbox.announce(session, delivery.company_id, fact)
    return checkpoint
