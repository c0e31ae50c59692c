"""What the live part reads from the database. Blocking: always called in a worker thread."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Integer, any_, func, literal, select
from sqlalchemy.orm import Session

from core import history, isolation
from core.actors import Actor, visible_deliveries
from core.errors import NotFound
from core.facts import PositionFact, StatusFact
from core.lifecycle import UNDER_WAY, served_since
from core.models import (
    ANNOUNCED,
    AppUser,
    CheckpointKind,
    Company,
    Delivery,
    DeliveryCheckpoint,
    Role,
    Status,
    Vehicle,
)
from core.people_models import ApiToken, LoginSession
from core.scoping import MAXIMUM_ID
from core.tracking import dropoff_of

MAXIMUM_MISSED = 500
MAXIMUM_AGE = timedelta(hours=24)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A watched delivery as it is now; ``position`` only if heard since its start; ``dropoff`` in degrees."""

    delivery: int
    company: str
    company_id: int
    customer_id: int
    driver_id: int | None
    vehicle: int | None
    status: Status
    dropoff: tuple[float, float] | None
    position: PositionFact | None


class Person(msgspec.Struct, frozen=True):
    """Everything of a user that a socket's rights rest on; a changed one must log in again."""

    company_id: int
    role: Role
    driver_id: int | None
    customer_id: int | None
    token_epoch: int
    disabled_at: datetime | None


class Snapshot(msgspec.Struct, frozen=True):
    """What a new socket is told first. ``checkpoint`` is the last that it needs no live event for.

    ``resync`` tells the client that it cannot get what it missed: ``statuses`` is the present state.
    """

    target: Target
    statuses: list[StatusFact]
    checkpoint: int
    resync: bool


class Holder(msgspec.Struct, frozen=True):
    """Whose token opened a socket: a person, perhaps by a log-in, or an integration."""

    user_id: int | None
    session_id: int | None = None
    api_token_id: int | None = None

    @classmethod
    def of(cls, actor: Actor) -> Self:
        return cls(actor.user_id, actor.session_id, actor.api_token_id)


def people(session: Session, holders: Iterable[Holder]) -> dict[Holder, Person]:
    """Those whose tokens still stand; whose log-in has ended, or whose API token, is left out."""
    asked = set(holders)
    users = _users(session, {h.user_id for h in asked if h.user_id is not None})
    standing = _sessions(session, {h.session_id for h in asked if h.session_id is not None})
    tokens = _tokens(session, {h.api_token_id for h in asked if h.api_token_id is not None})
    found = {}
    for holder in asked:
        person = tokens.get(holder.api_token_id or 0) or users.get(holder.user_id or 0)
        if person is not None and (holder.session_id is None or holder.session_id in standing):
            found[holder] = person
    return found


def _sessions(session: Session, session_ids: set[int]) -> set[int]:
    if not session_ids:
        return set()
    ids = any_(literal(list(session_ids), ARRAY(BigInteger)))
    query = select(LoginSession.id).where(LoginSession.id == ids, LoginSession.ended_at.is_(None))
    return set(session.scalars(query))


def _tokens(session: Session, token_ids: set[int]) -> dict[int, Person]:
    if not token_ids:
        return {}
    query = select(ApiToken.id, ApiToken.company_id)
    rows = session.execute(query.where(_in(ApiToken.id, token_ids), ApiToken.revoked_at.is_(None)))
    return {row.id: Person(row.company_id, Role.MANAGER, None, None, 0, None) for row in rows}


def _users(session: Session, user_ids: Iterable[int]) -> dict[int, Person]:
    rows = session.execute(
        select(
            AppUser.id,
            AppUser.company_id,
            AppUser.role,
            AppUser.driver_id,
            AppUser.customer_id,
            AppUser.token_epoch,
            AppUser.disabled_at,
        ).where(_in(AppUser.id, user_ids))
    )
    return {row.id: Person(*row[1:]) for row in rows}


def targets(session: Session, delivery_ids: Iterable[int]) -> dict[int, Target]:
    return {target.delivery: target for target in _targets(session, _in(Delivery.id, delivery_ids))}


def visible_target(session: Session, actor: Actor, delivery_id: int) -> Target:
    """Raises `NotFound` when the delivery is missing or not this actor's to see."""
    if 0 < delivery_id <= MAXIMUM_ID:
        for target in _targets(session, Delivery.id == delivery_id, visible_deliveries(actor)):
            return target
    raise NotFound("delivery")


def snapshot(session: Session, actor: Actor, delivery_id: int, last_checkpoint: int | None) -> Snapshot:
    """The present state, or for a client that resumes all that it missed. Raises `NotFound`.

    Read after the subscription stands: whatever is committed later arrives live.
    """
    isolation.enter(session, actor.company_id)
    # The history first: a status that is newer than it then arrives live too.
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
    """Without the positions that were overtaken since: whoever stored a newer one has announced it."""
    rows = session.execute(
        select(Vehicle.id, Vehicle.position_time).where(_in(Vehicle.id, [fact.vehicle for fact in facts]))
    )
    newest = {row.id: row.position_time for row in rows}
    return [fact for fact in facts if newest.get(fact.vehicle) == fact.fix_time]


def missed_by(session: Session, last: Mapping[int, int]) -> list[StatusFact]:
    """For each delivery the status facts after the checkpoint last announced, in order."""
    newest = session.execute(
        select(DeliveryCheckpoint.delivery_id, func.max(DeliveryCheckpoint.id))
        .where(
            _in(DeliveryCheckpoint.delivery_id, last),
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
    """None when the client has been away for too long, or names a checkpoint that is not this delivery's."""
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
    checkpoints = history.announced_since(session, delivery_id, after_id, MAXIMUM_MISSED + 1)
    slug, customer_id = session.execute(
        select(Company.slug, Delivery.customer_id)
        .join(Delivery, Delivery.company_id == Company.id)
        .where(Delivery.id == delivery_id)
    ).one_or_none() or ("", None)
    return [history.fact_of(slug, checkpoint, customer_id) for checkpoint in checkpoints]


def _present(session: Session, actor: Actor, delivery_id: int) -> list[StatusFact]:
    """The newest announcement that this actor may have: it carries the present status."""
    query = (
        select(DeliveryCheckpoint)
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .where(DeliveryCheckpoint.kind.in_(ANNOUNCED))
        .order_by(DeliveryCheckpoint.id.desc())
        .limit(1)
    )
    if actor.role is Role.CUSTOMER:
        query = query.where(DeliveryCheckpoint.kind == CheckpointKind.STATUS)
    # Told to this actor alone, whose right `snapshot` asks for.
    return [history.fact_of(actor.company_slug, checkpoint, None) for checkpoint in session.scalars(query)]


def _targets(session: Session, *conditions: ColumnElement[bool]) -> list[Target]:
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


def _target(row: Any) -> Target:
    return Target(
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
    """Where the van was before the delivery began is another customer's business."""
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


def _in(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """One statement for any number of ids, so that it is planned and cached once."""
    found: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Integer)))
    return found
