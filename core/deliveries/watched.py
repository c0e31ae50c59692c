"""Database reads of the live updates. Blocking: always called in a worker thread."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.access.actors import Actor, visible_deliveries
from core.access.scoping import MAXIMUM_ID
from core.database import row_security
from core.database.ids import is_any_of
from core.deliveries import checkpoints as delivery_checkpoints
from core.deliveries import missed_statuses
from core.deliveries.whereabouts import whereabouts_of
from core.errors import NotFound
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.fleet import Vehicle
from core.positions.vehicle_position import VEHICLE_COLUMNS, dropoff_of
from core.rules.enums import ANNOUNCED, CheckpointKind, Role, Status
from core.rules.facts import PositionFact, StatusFact


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
        missed = missed_statuses.missed_since(session, delivery_id, last_checkpoint)
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
            *VEHICLE_COLUMNS,
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
    """Return the fact that the delivery may show now."""
    position = whereabouts_of(row, row).position
    if position is None:
        return None
    return PositionFact(
        company=row.company,
        vehicle=row.vehicle_id,
        fix_time=position.fix_time,
        latitude=position.latitude,
        longitude=position.longitude,
        speed_kmh=position.speed_kmh,
        course_deg=position.course_deg,
        accuracy_m=position.accuracy_m,
        smoothed_speed_kmh=row.smoothed_speed_kmh,
        deliveries=(row.delivery,),
        customers=(row.customer_id,),
        drivers=(row.driver_id,),
    )
