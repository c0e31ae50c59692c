"""What people do with deliveries: create, edit, assign, change their status. The caller commits."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from core import audit, history, notifications, outbox, proof_rules
from core.actors import Actor, visible_deliveries
from core.errors import Conflict, Forbidden, InvalidValue, NotFound, PreconditionFailed
from core.fixes import FUTURE_LIMIT, position_problem
from core.lifecycle import FINAL, NEEDS_REASON, UNDER_WAY, require_transition
from core.models import (
    CheckpointKind,
    Customer,
    Delivery,
    DeliveryCheckpoint,
    Driver,
    LoadOrder,
    Role,
    Status,
    Vehicle,
)
from core.scoping import MAXIMUM_ID, is_ours, require_manager

OFFLINE_LIMIT = timedelta(days=30)
LONGEST_WINDOW = timedelta(days=366)
REFERRED: Mapping[str, type[Customer | Driver | Vehicle | LoadOrder]] = {
    "customer_id": Customer,
    "driver_id": Driver,
    "vehicle_id": Vehicle,
    "load_order_id": LoadOrder,
}


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``occurred_at`` is the reporter's clock; None: now. ``location`` is latitude, longitude in degrees."""

    status: Status
    reason: str | None = None
    occurred_at: datetime | None = None
    location: tuple[float, float] | None = None


class StatusChange(msgspec.Struct, frozen=True):
    """``written`` is False for a repetition by the same person or integration: nothing is announced."""

    delivery: Delivery
    checkpoint: DeliveryCheckpoint
    written: bool


def find(session: Session, actor: Actor, delivery_id: int) -> Delivery:
    """The delivery with its load. Raises `NotFound` when it is missing or not this actor's to see."""
    return _one(session, _visible(actor, delivery_id).options(_with_load()), delivery_id)


def require_visible(session: Session, actor: Actor, delivery_id: int) -> None:
    """Raises `NotFound`, as `find` does, without reading the load."""
    _one(session, _visible(actor, delivery_id), delivery_id)


def lock(session: Session, actor: Actor, delivery_id: int) -> Delivery:
    """The same, locked against every other writer of this delivery."""
    query = _visible(actor, delivery_id).with_for_update(key_share=True)
    return _one(session, query.execution_options(populate_existing=True), delivery_id)


def _visible(actor: Actor, delivery_id: int) -> Select[Delivery]:
    return select(Delivery).where(Delivery.id == delivery_id, visible_deliveries(actor))


def _with_load() -> Any:
    return selectinload(Delivery.load_order).selectinload(LoadOrder.items)


def _one(session: Session, query: Select[Delivery], delivery_id: int) -> Delivery:
    delivery = session.scalar(query) if 0 < delivery_id <= MAXIMUM_ID else None
    if delivery is None:
        raise NotFound("delivery")
    return delivery


def create(session: Session, actor: Actor, values: Mapping[str, Any], now: datetime) -> Delivery:
    """A pending delivery. ``values`` are columns of `Delivery` but id, company, status and version."""
    require_manager(actor)
    _check_references(session, actor, values)
    _check_window(values.get("window_start"), values.get("window_end"))
    delivery = Delivery(company_id=actor.company_id, status=Status.PENDING, **values)
    delivery.vehicle_since = now
    session.add(delivery)
    session.flush()
    audit.added(session, actor, delivery)
    _announce(session, delivery, CheckpointKind.STATUS, actor, now)
    return find(session, actor, delivery.id)


def edit(
    session: Session,
    actor: Actor,
    delivery_id: int,
    values: Mapping[str, Any],
    now: datetime,
    *,
    versions: Container[int] | None = None,
) -> Delivery:
    """Set columns. A change of driver or vehicle is an assignment: a checkpoint and an announcement.

    Raises `PreconditionFailed` unless the delivery is at one of ``versions`` (None: at any).
    """
    delivery = lock(session, actor, delivery_id)
    require_manager(actor)
    _require_version(delivery, versions)
    changes = {name: value for name, value in values.items() if getattr(delivery, name) != value}
    if not changes:
        return find(session, actor, delivery_id)
    if delivery.status in FINAL:
        raise Conflict(f"A delivery that is {delivery.status} cannot be edited.", current=delivery.status)
    _check_references(session, actor, changes)
    _check_assignment(delivery, changes)
    audit.change(session, actor, delivery, changes)
    _check_window(delivery.window_start, delivery.window_end)
    delivery.version += 1
    if "vehicle_id" in changes:
        delivery.vehicle_since = now
    if changes.keys() & {"driver_id", "vehicle_id"}:
        _announce(session, delivery, CheckpointKind.ASSIGNMENT, actor, now)
    session.flush()
    return find(session, actor, delivery_id)


def change_status(
    session: Session,
    actor: Actor,
    delivery_id: int,
    request: StatusRequest,
    now: datetime,
    *,
    versions: Container[int] | None = None,
) -> StatusChange:
    """Apply one transition: status, checkpoint, announcement, notifications, all or nothing.

    Raises `NotFound`, `Forbidden`, `PreconditionFailed`, `InvalidTransition`, `ProofRequired`, `Conflict`,
    `InvalidValue`.
    """
    delivery = lock(session, actor, delivery_id)
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager changes its status.")
    record = history.statuses(session, delivery_id)
    if (repeated := _repeated(record, delivery, request, actor)) is not None:
        return StatusChange(delivery, repeated, written=False)
    # After the repetition: its own first request is what made the version another.
    _require_version(delivery, versions)
    require_transition(delivery.status, request.status)
    if request.status is Status.DELIVERED:
        proof_rules.require(session, delivery)
    occurred_at = _occurred_at(request, record, now)
    _check_request(delivery, request)
    before, delivery.status = delivery.status, request.status
    audit.moved(session, actor, delivery, "status_changed", "status", before)
    delivery.version += 1
    if request.status is Status.PICKUP_IN_PROGRESS:
        delivery.started_at = occurred_at
    if request.status in FINAL:
        delivery.ended_at = occurred_at
    checkpoint = _announce(
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
    notifications.queue_status_change(session, delivery, checkpoint, before, now)
    return StatusChange(delivery, checkpoint, written=True)


def _repeated(
    record: Sequence[DeliveryCheckpoint], delivery: Delivery, request: StatusRequest, actor: Actor
) -> DeliveryCheckpoint | None:
    """The checkpoint that this very request wrote before: the present one, or an earlier one sent again.

    A phone that lost an answer repeats it, perhaps after later ones; its ``occurred_at`` tells them apart.
    """
    for checkpoint in reversed(record):
        if checkpoint.status == request.status and _is_same_person(checkpoint, actor):
            is_present = delivery.status == request.status
            return checkpoint if is_present or _sent_at(checkpoint) == request.occurred_at else None
    return None


def _sent_at(checkpoint: DeliveryCheckpoint) -> datetime:
    """As the phone sent it: what was stored may have been fitted into the record by `_occurred_at`."""
    return checkpoint.occurred_at_sent or checkpoint.occurred_at


def _require_version(delivery: Delivery, versions: Container[int] | None) -> None:
    if versions is not None and delivery.version not in versions:
        raise PreconditionFailed(delivery.version)


def _is_same_person(checkpoint: DeliveryCheckpoint, actor: Actor) -> bool:
    """The same user or integration, or the same driver over REST and phone."""
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
    """When it happened by the reporter's clock, which may be offline for long or wrong.

    It is never later than now nor earlier than the status before it: the record stays in order.
    """
    if request.occurred_at is None:
        return now
    if not now - OFFLINE_LIMIT <= request.occurred_at <= now + FUTURE_LIMIT:
        raise InvalidValue("occurred_at", "must lie within the last 30 days, and not in the future")
    earliest = max((checkpoint.occurred_at for checkpoint in record), default=request.occurred_at)
    return min(max(request.occurred_at, earliest), now)


def _check_assignment(delivery: Delivery, changes: Mapping[str, Any]) -> None:
    for name in ("driver_id", "vehicle_id"):
        if delivery.status in UNDER_WAY and name in changes and changes[name] is None:
            raise Conflict(f"A delivery that is under way needs a {name}.", current=delivery.status)


def _check_references(session: Session, actor: Actor, values: Mapping[str, Any]) -> None:
    """Every id must be one of this company's that is not archived; a foreign one reads as missing."""
    for field, model in REFERRED.items():
        if (row_id := values.get(field)) is not None:
            require_reference(session, actor, field, model, row_id)


def require_reference(
    session: Session,
    actor: Actor,
    field: str,
    model: type[Customer | Driver | Vehicle | LoadOrder],
    row_id: int,
) -> None:
    """Raises `InvalidValue` naming ``field`` unless the row is this company's and not archived.

    The row is locked against being archived or deleted until this transaction ends.
    """
    query = (
        select(model.id)
        .where(model.id == row_id, is_ours(actor, model))
        .with_for_update(read=True, key_share=True)
    )
    if model is not LoadOrder:
        query = query.where(model.archived_at.is_(None))  # type: ignore[union-attr]
    found = session.scalar(query) if 0 < row_id <= MAXIMUM_ID else None
    if found is None:
        raise InvalidValue(field, f"no such {model.__tablename__.replace('_', ' ')}, or it is archived")


def _check_window(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise InvalidValue("window_end", "must be later than window_start")
    if start is not None and end is not None and end - start > LONGEST_WINDOW:
        raise InvalidValue("window_end", "must lie within 366 days of window_start")


def _announce(
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
    checkpoint = history.write(
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
    fact = history.fact_of(actor.company_slug, checkpoint, delivery.customer_id)
    outbox.announce(session, delivery.company_id, fact)
    return checkpoint
