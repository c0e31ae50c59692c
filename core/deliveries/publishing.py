"""Write a checkpoint of a delivery, under its row lock, and publish it through the outbox."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import checkpoints
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.records import outbox
from core.rules.enums import CheckpointKind


def publish_checkpoint(
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
    """Write a status or assignment checkpoint and queue its fact in the outbox."""
    checkpoint = write_checkpoint(
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
    outbox.add_fact(session, delivery.company_id, fact)
    return checkpoint


def write_checkpoint(
    session: Session,
    delivery: Delivery,
    kind: CheckpointKind,
    actor: Actor,
    *,
    occurred_at: datetime,
    now: datetime,
    occurred_at_sent: datetime | None = None,
    reason: str | None = None,
    location: tuple[float, float] | None = None,
    proof_id: int | None = None,
    proof_sha256s: list[str] | None = None,
) -> DeliveryCheckpoint:
    """Add a checkpoint with the delivery's present status and assignment. The caller holds the row lock."""
    checkpoint = DeliveryCheckpoint(
        company_id=delivery.company_id,
        delivery_id=delivery.id,
        kind=kind,
        status=delivery.status,
        vehicle_id=delivery.vehicle_id,
        driver_id=delivery.driver_id,
        latitude=location[0] if location else None,
        longitude=location[1] if location else None,
        reason=reason,
        occurred_at=occurred_at,
        occurred_at_sent=occurred_at_sent,
        recorded_at=now,
        actor_user_id=actor.user_id,
        actor_driver_id=actor.driver_id,
        actor_device_id=actor.device_id,
        actor_api_token_id=actor.api_token_id,
        proof_id=proof_id,
        proof_sha256s=proof_sha256s,
    )
    session.add(checkpoint)
    session.flush()
    return checkpoint
