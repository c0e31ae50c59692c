"""Change a delivery's status in one transaction, under the delivery's row lock."""

from collections.abc import Container
from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import checkpoints, lookup
from core.deliveries.proofs import requirements
from core.deliveries.publishing import publish_checkpoint
from core.errors import Forbidden
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.notifications.status_changes import queue_status_change
from core.records import audit
from core.rules import lifecycle
from core.rules.enums import CheckpointKind, Role, Status


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``occurred_at`` is by the reporter's clock (None: now), ``location`` latitude, longitude in degrees."""

    status: Status
    reason: str | None = None
    occurred_at: datetime | None = None
    location: tuple[float, float] | None = None


class StatusChange(msgspec.Struct, frozen=True):
    """``written`` is False for a retry by the same person or integration: no event is published."""

    delivery: Delivery
    checkpoint: DeliveryCheckpoint
    written: bool


def change_status(
    session: Session,
    actor: Actor,
    delivery_id: int,
    request: StatusRequest,
    now: datetime,
    *,
    versions: Container[int] | None = None,
) -> StatusChange:
    """Apply one transition atomically: status, audit entry, checkpoint, outbox row and notifications.

    Raises `NotFound`, `Forbidden`, `PreconditionFailed`, `InvalidTransition`, `ProofRequired`, `Conflict`,
    `InvalidValue`.
    """
    delivery = lookup.lock(session, actor, delivery_id)
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager changes its status.")
    history = checkpoints.statuses(session, delivery_id)
    earlier = checkpoints.earlier_copy(history, delivery, actor, request.status, request.occurred_at)
    if earlier is not None:
        return StatusChange(delivery, earlier, written=False)
    # Checked after the retry, because the client's own first request has already changed the version.
    lifecycle.require_version(delivery.version, versions)
    lifecycle.require_transition(delivery.status, request.status)
    if request.status is Status.DELIVERED:
        requirements.require(session, delivery)
    occurred_at = lifecycle.reported_time(request.occurred_at, [one.occurred_at for one in history], now)
    unassigned = [name for name in ("driver_id", "vehicle_id") if getattr(delivery, name) is None]
    lifecycle.require_details(request.status, request.reason, request.location, unassigned)
    before, delivery.status = delivery.status, request.status
    audit.note_changed(session, actor, "status_changed", delivery, {"status": (before, request.status)})
    delivery.version += 1
    if request.status is Status.PICKUP_IN_PROGRESS:
        delivery.started_at = occurred_at
    if request.status in lifecycle.FINAL:
        delivery.ended_at = occurred_at
    checkpoint = publish_checkpoint(
        session,
        delivery,
        CheckpointKind.STATUS,
        actor,
        now,
        occurred_at=occurred_at,
        occurred_at_sent=request.occurred_at,
        reason=request.reason,
        location=request.location,
    )
    queue_status_change(session, delivery, checkpoint, before, now)
    return StatusChange(delivery, checkpoint, written=True)
