"""A delivery's history: its checkpoints, each written under the delivery's row lock."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.rules.enums import ANNOUNCED, CheckpointKind
from core.rules.facts import StatusFact

MAXIMUM_PAGE = 200


def write(
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


def fact_of(company: str, checkpoint: DeliveryCheckpoint, customer_id: int | None) -> StatusFact:
    """Return the fact of a status or assignment checkpoint; ``customer_id`` is the delivery's customer."""
    return StatusFact(
        company=company,
        delivery=checkpoint.delivery_id,
        checkpoint=checkpoint.id,
        kind=checkpoint.kind.value,
        status=checkpoint.status.value,
        vehicle=checkpoint.vehicle_id,
        driver=checkpoint.driver_id,
        customer=customer_id,
        reason=checkpoint.reason,
        occurred_at=checkpoint.occurred_at,
        recorded_at=checkpoint.recorded_at,
    )


def statuses(session: Session, delivery_id: int) -> Sequence[DeliveryCheckpoint]:
    """Return the delivery's status checkpoints in order: a handful, because the transitions have no cycle."""
    return session.scalars(
        select(DeliveryCheckpoint)
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .where(DeliveryCheckpoint.kind == CheckpointKind.STATUS)
        .order_by(DeliveryCheckpoint.id)
    ).all()


def page(
    session: Session, actor: Actor, delivery_id: int, *, after_id: int = 0, limit: int = 50
) -> list[DeliveryCheckpoint]:
    """Return the checkpoints after ``after_id``, in order. Customers get only statuses and proofs, no stops.

    The caller has checked that the actor may see the delivery.
    """
    query = (
        select(DeliveryCheckpoint)
        .where(DeliveryCheckpoint.delivery_id == delivery_id, DeliveryCheckpoint.id > after_id)
        .order_by(DeliveryCheckpoint.id)
        .limit(min(limit, MAXIMUM_PAGE + 1))  # the extra row shows whether there is a next page
    )
    if not actor.sees_track:
        query = query.where(DeliveryCheckpoint.kind.in_((CheckpointKind.STATUS, CheckpointKind.PROOF)))
    return list(session.scalars(query))


def announced_since(
    session: Session, delivery_id: int, after_id: int, limit: int
) -> list[DeliveryCheckpoint]:
    """Return the status and assignment checkpoints after ``after_id``, in order: those a watcher missed."""
    return list(
        session.scalars(
            select(DeliveryCheckpoint)
            .where(
                DeliveryCheckpoint.delivery_id == delivery_id,
                DeliveryCheckpoint.id > after_id,
                DeliveryCheckpoint.kind.in_(ANNOUNCED),
            )
            .order_by(DeliveryCheckpoint.id)
            .limit(limit)
        )
    )
