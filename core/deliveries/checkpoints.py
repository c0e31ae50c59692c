"""A delivery's history: its checkpoints (`publishing` writes them)."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.rules.enums import ANNOUNCED, CheckpointKind, Status
from core.rules.facts import StatusFact

MAXIMUM_PAGE = 200


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


def earlier_copy(
    history: Sequence[DeliveryCheckpoint],
    delivery: Delivery,
    actor: Actor,
    status: Status,
    occurred_at: datetime | None,
) -> DeliveryCheckpoint | None:
    """Return the checkpoint that an earlier copy of this request wrote: the present one or an older one.

    A phone that lost a response repeats the request, perhaps after later ones; ``occurred_at`` identifies it.
    """
    for checkpoint in reversed(history):
        if checkpoint.status == status and _is_same_actor(checkpoint, actor):
            # By the time the phone sent, because the stored time may have been clamped.
            is_copy = (checkpoint.occurred_at_sent or checkpoint.occurred_at) == occurred_at
            return checkpoint if is_copy or delivery.status == status else None
    return None


def _is_same_actor(checkpoint: DeliveryCheckpoint, actor: Actor) -> bool:
    """Return whether the user or integration is the same, or the driver is, over REST or phone."""
    known = (
        (actor.user_id, checkpoint.actor_user_id),
        (actor.driver_id, checkpoint.actor_driver_id),
        (actor.api_token_id, checkpoint.actor_api_token_id),
    )
    return any(requesting is not None and requesting == wrote for requesting, wrote in known)


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
