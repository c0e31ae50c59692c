"""Change a delivery's status in one transaction, under the delivery's row lock."""

from collections.abc import Container, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import checkpoints
from core.deliveries.announcing import announce
from core.deliveries.commands import require_version, sent_at
from core.deliveries.lookup import lock
from core.deliveries.proofs import requirements
from core.errors import Conflict, Forbidden, InvalidValue
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.notifications import queue
from core.records import audit
from core.rules.enums import CheckpointKind, Role, Status
from core.rules.fix import FUTURE_LIMIT, position_problem
from core.rules.lifecycle import FINAL, NEEDS_REASON, require_transition

OFFLINE_LIMIT = timedelta(days=30)


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
    """Apply one transition atomically: status, checkpoint, event and notifications.

    Raises `NotFound`, `Forbidden`, `PreconditionFailed`, `InvalidTransition`, `ProofRequired`, `Conflict`,
    `InvalidValue`.
    """
    delivery = lock(session, actor, delivery_id)
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager changes its status.")
    record = checkpoints.statuses(session, delivery_id)
    if (repeated := _repeated(record, delivery, request, actor)) is not None:
        return StatusChange(delivery, repeated, written=False)
    # Checked after the retry, because the client's own first request has already changed the version.
    require_version(delivery, versions)
    require_transition(delivery.status, request.status)
    if request.status is Status.DELIVERED:
        requirements.require(session, delivery)
    occurred_at = _occurred_at(request, record, now)
    _check_request(delivery, request)
    before, delivery.status = delivery.status, request.status
    audit.moved(session, actor, delivery, "status_changed", "status", before)
    delivery.version += 1
    if request.status is Status.PICKUP_IN_PROGRESS:
        delivery.started_at = occurred_at
    if request.status in FINAL:
        delivery.ended_at = occurred_at
    checkpoint = announce(
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
    queue.queue_status_change(session, delivery, checkpoint, before, now)
    return StatusChange(delivery, checkpoint, written=True)


def _repeated(
    record: Sequence[DeliveryCheckpoint], delivery: Delivery, request: StatusRequest, actor: Actor
) -> DeliveryCheckpoint | None:
    """Return the checkpoint that an earlier copy of this request wrote: the present one or an older one.

    A phone that lost a response repeats the request, perhaps after later ones; ``occurred_at`` identifies it.
    """
    for checkpoint in reversed(record):
        if checkpoint.status == request.status and _is_same_person(checkpoint, actor):
            is_present = delivery.status == request.status
            return checkpoint if is_present or sent_at(checkpoint) == request.occurred_at else None
    return None


def _is_same_person(checkpoint: DeliveryCheckpoint, actor: Actor) -> bool:
    """Return whether the user or integration is the same, or the driver is, over REST or phone."""
    known = (
        (actor.user_id, checkpoint.actor_user_id),
        (actor.driver_id, checkpoint.actor_driver_id),
        (actor.api_token_id, checkpoint.actor_api_token_id),
    )
    return any(asking is not None and asking == wrote for asking, wrote in known)


def _check_request(delivery: Delivery, request: StatusRequest) -> None:
    if request.status in NEEDS_REASON and not (request.reason or "").strip():
        raise InvalidValue("reason", f"say why the delivery is {request.status}")
    if request.location is not None and (problem := position_problem(*request.location)):
        raise InvalidValue("location", problem)
    missing = [name for name in ("driver_id", "vehicle_id") if getattr(delivery, name) is None]
    if request.status is Status.PICKUP_IN_PROGRESS and missing:
        raise Conflict("Assign a driver and a vehicle before the pickup starts.", missing=missing)


def _occurred_at(request: StatusRequest, record: Sequence[DeliveryCheckpoint], now: datetime) -> datetime:
    """Return when the change happened by the reporter's clock, which may be wrong or long offline.

    The time is clamped: never later than now nor earlier than the previous status, so history stays in order.
    """
    if request.occurred_at is None:
        return now
    if not now - OFFLINE_LIMIT <= request.occurred_at <= now + FUTURE_LIMIT:
        raise InvalidValue("occurred_at", "must lie within the last 30 days, and not in the future")
    earliest = max((checkpoint.occurred_at for checkpoint in record), default=request.occurred_at)
    return min(max(request.occurred_at, earliest), now)
