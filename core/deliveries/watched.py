"""Database reads of the live updates. Blocking: always called in a worker thread."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.access.actors import Actor, visible_deliveries
from core.access.scoping import MAXIMUM_ID
from core.database import row_security
from core.database.ids import is_any_of
from core.deliveries import checkpoints as delivery_checkpoints
from core.errors import NotFound
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.fleet import Vehicle
from core.positions.vehicle_position import dropoff_of
from core.rules.enums import ANNOUNCED, CheckpointKind, Role, Status
from core.rules.facts import PositionFact, StatusFact
from core.rules.lifecycle import UNDER_WAY, served_since

MAXIMUM_MISSED = 500
MAXIMUM_AGE = timedelta(hours=24)


class WatchedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A watched delivery now; ``position`` only if received since its start; ``dropoff`` in degrees."""

    delivery: int
    company: str
    company_id: int
    customer_id: int
    driver_id: int | None
    vehicle: int | None
    status: Status
    dropoff: tuple[float, float] | None
    position: PositionFact | None


class Snapshot(msgspec.Struct, frozen=True):
    """The first message of a new socket. Live events are needed only after ``checkpoint``.

    ``resync`` tells the client that its missed events are not available: ``statuses`` is the present state.
    """

    target: WatchedDelivery
    statuses: list[StatusFact]
    checkpoint: int
    resync: bool


def targets(session: Session, delivery_ids: Iterable[int]) -> dict[int, WatchedDelivery]:
    return {target.delivery: target for target in _targets(session, is_any_of(Delivery.id, delivery_ids))}


def visible_target(session: Session, actor: Actor, delivery_id: int) -> WatchedDelivery:
    """Return the delivery. Raises `NotFound` when it is missing or the actor may not see it."""
    if 0 < delivery_id <= MAXIMUM_ID:
        for target in _targets(session, Delivery.id == delivery_id, visible_deliveries(actor)):
            return target
    raise NotFound("delivery")


def snapshot(session: Session, actor: Actor, delivery_id: int, last_checkpoint: int | None) -> Snapshot:
    """Return the present state, or every missed event for a client that resumes. Raises `NotFound`.

    Call it once the subscription is active: everything committed later then arrives live.
    """
    row_security.enter(session, actor.company_id)
    # The history is read first: a status committed after this read also arrives as a live event.
    missed = None
    if last_checkpoint is not None:
        missed = _missed(session, delivery_id, last_checkpoint)
    statuses = missed if missed is not None else _present(session, actor, delivery_id)
    newest = max((fact.checkpoint for fact in statuses), default=last_checkpoint or 0)
    return Snapshot(
        visible_target(session, actor, delivery_id),
        statuses,
        newest,
        resync=last_checkpoint is not None and missed is None,
    )


def still_newest(session: Session, facts: list[PositionFact]) -> list[PositionFact]:
    """Return the facts that are still the newest; the writer of a newer position has published that one."""
    rows = session.execute(
        select(Vehicle.id, Vehicle.position_time).where(
            is_any_of(Vehicle.id, [fact.vehicle for fact in facts])
        )
    )
    newest = {row.id: row.position_time for row in rows}
    return [fact for fact in facts if newest.get(fact.vehicle) == fact.fix_time]


def missed_by(session: Session, last: Mapping[int, int]) -> list[StatusFact]:
    """Return, per delivery, the status facts after the last one published, in order."""
    newest = session.execute(
        select(DeliveryCheckpoint.delivery_id, func.max(DeliveryCheckpoint.id))
        .where(
            is_any_of(DeliveryCheckpoint.delivery_id, last),
            DeliveryCheckpoint.kind.in_(ANNOUNCED),
        )
        .group_by(DeliveryCheckpoint.delivery_id)
    )
    behind = [delivery for delivery, checkpoint in newest if checkpoint > last[delivery]]
    facts: list[StatusFact] = []
    for delivery in behind:
        facts += _announced(session, delivery, last[delivery])
    return facts


def _missed(session: Session, delivery_id: int, last_checkpoint: int) -> list[StatusFact] | None:
    """Return the missed facts.

    None when the client was away too long, or its checkpoint belongs to another delivery.
    """
    if last_checkpoint > 0 and not _is_announced(session, delivery_id, last_checkpoint):
        return None
    facts = _announced(session, delivery_id, last_checkpoint)
    if len(facts) > MAXIMUM_MISSED or (facts and _is_old(session, last_checkpoint)):
        return None
    return facts


def _is_announced(session: Session, delivery_id: int, checkpoint_id: int) -> bool:
    checkpoint = session.get(DeliveryCheckpoint, checkpoint_id)
    return checkpoint is not None and checkpoint.delivery_id == delivery_id


def _is_old(session: Session, checkpoint_id: int) -> bool:
    checkpoint = session.get(DeliveryCheckpoint, checkpoint_id)
    return checkpoint is not None and checkpoint.recorded_at < datetime.now(UTC) - MAXIMUM_AGE


def _announced(session: Session, delivery_id: int, after_id: int) -> list[StatusFact]:
    checkpoints = delivery_checkpoints.announced_since(session, delivery_id, after_id, MAXIMUM_MISSED + 1)
    slug, customer_id = session.execute(
        select(Company.slug, Delivery.customer_id)
        .join(Delivery, Delivery.company_id == Company.id)
        .where(Delivery.id == delivery_id)
    ).one_or_none() or ("", None)
    return [delivery_checkpoints.fact_of(slug, checkpoint, customer_id) for checkpoint in checkpoints]


def _present(session: Session, actor: Actor, delivery_id: int) -> list[StatusFact]:
    """Return the newest fact that this actor may see, which carries the present status."""
    query = (
        select(DeliveryCheckpoint)
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .where(DeliveryCheckpoint.kind.in_(ANNOUNCED))
        .order_by(DeliveryCheckpoint.id.desc())
        .limit(1)
    )
    if actor.role is Role.CUSTOMER:
        query = query.where(DeliveryCheckpoint.kind == CheckpointKind.STATUS)
    # The customer id may be None here: only this actor gets the fact, and `snapshot` checks its access.
    return [
        delivery_checkpoints.fact_of(actor.company_slug, checkpoint, None)
        for checkpoint in session.scalars(query)
    ]


def _targets(session: Session, *conditions: ColumnElement[bool]) -> list[WatchedDelivery]:
    rows = session.execute(
        select(
            Delivery.id.label("delivery"),
            Company.slug.label("company"),
            Delivery.company_id,
            Delivery.customer_id,
            Delivery.driver_id,
            Delivery.vehicle_id,
            Delivery.status,
            Delivery.started_at,
            Delivery.vehicle_since,
            Delivery.dropoff_latitude,
            Delivery.dropoff_longitude,
            Vehicle.position_time,
            Vehicle.position_latitude,
            Vehicle.position_longitude,
            Vehicle.position_speed_kmh,
            Vehicle.position_course_deg,
            Vehicle.position_accuracy_m,
            Vehicle.smoothed_speed_kmh,
        )
        .join(Company, Company.id == Delivery.company_id)
        .outerjoin(Vehicle, Vehicle.id == Delivery.vehicle_id)
        .where(*conditions)
    )
    return [_target(row) for row in rows]


def _target(row: Any) -> WatchedDelivery:
    return WatchedDelivery(
        delivery=row.delivery,
        company=row.company,
        company_id=row.company_id,
        customer_id=row.customer_id,
        driver_id=row.driver_id,
        vehicle=row.vehicle_id,
        status=row.status,
        dropoff=dropoff_of(row.dropoff_latitude, row.dropoff_longitude),
        position=_position(row),
    )


def _position(row: Any) -> PositionFact | None:
    """Return the position, but not from before the delivery began: that is another customer's business."""
    if row.status not in UNDER_WAY or row.position_time is None:
        return None
    if row.position_time < served_since(row.started_at, row.vehicle_since):
        return None
    return PositionFact(
        company=row.company,
        vehicle=row.vehicle_id,
        fix_time=row.position_time,
        latitude=row.position_latitude,
        longitude=row.position_longitude,
        speed_kmh=row.position_speed_kmh,
        course_deg=row.position_course_deg,
        accuracy_m=row.position_accuracy_m,
        smoothed_speed_kmh=row.smoothed_speed_kmh,
        deliveries=(row.delivery,),
        customers=(row.customer_id,),
        drivers=(row.driver_id,),
    )
