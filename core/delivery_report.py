"""What became of a delivery: times, lateness, distance driven, load. Pure but for `generate`, which reads."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core import deliveries
from core.actors import Actor
from core.geo import distance_m
from core.lifecycle import FINAL
from core.models import CheckpointKind, Company, Delivery, DeliveryCheckpoint, LoadItem, Status

MAXIMUM_FIXES = 100_000  # a day and more at one fix a second
MAXIMUM_ROUTE = 2_000
STEP_M = 10.0  # a parked receiver's jitter is no driving
Point = tuple[float, float]
FIXES = text(
    # Joined to the vehicle, whose row-level security then holds for its positions too.
    "SELECT p.latitude, p.longitude FROM position p JOIN vehicle v ON v.id = p.vehicle_id"
    " WHERE p.vehicle_id = :vehicle_id AND p.fix_time >= :start AND p.fix_time <= :end AND NOT p.suspect"
    " ORDER BY p.fix_time LIMIT :limit"
)


class Phase(msgspec.Struct, frozen=True):
    """The time in one status. ``ended_at`` is None for the present one, which is counted up to now."""

    status: Status
    started_at: datetime
    ended_at: datetime | None
    seconds: float


class Punctuality(msgspec.Struct, frozen=True):
    """Against the window's end. ``on_time`` is None while nobody can tell, or without a window."""

    window_start: datetime | None
    window_end: datetime | None
    on_time: bool | None
    late_seconds: float | None


class Load(msgspec.Struct, frozen=True):
    """Totals over the items; a weight or volume nobody gave counts as 0."""

    items: int
    quantity: int
    weight_kg: float
    volume_m3: float


class Leg(msgspec.Struct, frozen=True):
    """One vehicle's part of the active window."""

    vehicle_id: int
    start: datetime
    end: datetime


class Driven(msgspec.Struct, frozen=True):
    """``is_complete`` is False when there were more fixes than are counted (`MAXIMUM_FIXES`).

    Also when fixes before ``removed_before`` are gone and had not been measured yet.
    """

    distance_m: float
    fixes: int
    is_complete: bool
    removed_before: datetime | None = None


class DeliveryReport(msgspec.Struct, frozen=True):
    """``counts`` and ``route`` are None for customers: they would show other stops.

    ``route`` has at most about `MAXIMUM_ROUTE` points, evenly thinned; ``counts`` says how many there are.
    """

    delivery: Delivery
    generated_at: datetime
    timeline: list[DeliveryCheckpoint]
    phases: list[Phase]
    punctuality: Punctuality
    active_seconds: float | None
    load: Load
    driven: Driven
    counts: dict[CheckpointKind, int] | None
    route: list[DeliveryCheckpoint] | None


def generate(session: Session, actor: Actor, delivery_id: int, now: datetime) -> DeliveryReport:
    """Read what the report needs, and compute it. Raises `NotFound`."""
    delivery = deliveries.find(session, actor, delivery_id)
    record = announced(session, delivery_id)
    timeline = [checkpoint for checkpoint in record if checkpoint.kind is CheckpointKind.STATUS]
    counts = _counts(session, delivery_id)
    return DeliveryReport(
        delivery=delivery,
        generated_at=now,
        timeline=timeline,
        phases=phases(timeline, now),
        punctuality=punctuality(delivery, now),
        active_seconds=active_seconds(delivery, now),
        load=load(delivery.load_order.items if delivery.load_order else ()),
        driven=driven(session, delivery, record, now),
        counts=counts if actor.sees_track else None,
        route=_route(session, delivery_id, counts[CheckpointKind.LOCATION]) if actor.sees_track else None,
    )


def phases(timeline: Sequence[DeliveryCheckpoint], now: datetime) -> list[Phase]:
    """One phase a status; a phone's clock may lie, so none is shorter than nothing."""
    found = [
        _phase(checkpoint, following.occurred_at, following.occurred_at)
        for checkpoint, following in pairwise(timeline)
    ]
    if timeline and timeline[-1].status not in FINAL:
        found.append(_phase(timeline[-1], None, now))
    return found


def _phase(checkpoint: DeliveryCheckpoint, ended_at: datetime | None, counted_to: datetime) -> Phase:
    seconds = max(0.0, (counted_to - checkpoint.occurred_at).total_seconds())
    return Phase(checkpoint.status, checkpoint.occurred_at, ended_at, seconds)


def punctuality(delivery: Delivery, now: datetime) -> Punctuality:
    """A failed or returned delivery was not on time, however early that was known."""
    if delivery.window_end is None:
        return Punctuality(delivery.window_start, None, None, None)
    late = max((delivery.ended_at or now) - delivery.window_end, timedelta(0))
    on_time: bool | None = None
    if delivery.status is Status.DELIVERED:
        on_time = not late
    elif late or delivery.status in FINAL:
        on_time = False
    return Punctuality(delivery.window_start, delivery.window_end, on_time, late.total_seconds())


def active_seconds(delivery: Delivery, now: datetime) -> float | None:
    """From the start of the pickup to the end, or to now. None before the start."""
    if delivery.started_at is None:
        return None
    return max(0.0, ((delivery.ended_at or now) - delivery.started_at).total_seconds())


def load(items: Iterable[LoadItem]) -> Load:
    rows = list(items)
    return Load(
        items=len(rows),
        quantity=sum(row.quantity for row in rows),
        weight_kg=sum(row.weight_kg or 0.0 for row in rows),
        volume_m3=sum(row.volume_m3 or 0.0 for row in rows),
    )


def legs(announced: Sequence[DeliveryCheckpoint], start: datetime | None, end: datetime) -> list[Leg]:
    """Which vehicle drove when, between the start and the end: a re-assignment changes the van."""
    if start is None:
        return []
    found: list[Leg] = []
    for (vehicle_id, since), (_, until) in pairwise([*_changes_of_vehicle(announced, start), (None, end)]):
        leg_start, leg_end = max(since, start), min(until, end)
        if vehicle_id is None or leg_start >= leg_end:
            continue
        if found and found[-1].vehicle_id == vehicle_id and found[-1].end == leg_start:
            leg_start = found.pop().start
        found.append(Leg(vehicle_id, leg_start, leg_end))
    return found


def _changes_of_vehicle(
    announced: Sequence[DeliveryCheckpoint], start: datetime
) -> list[tuple[int | None, datetime]]:
    """The vehicle after each change and since when; the first counts from the start.

    Statuses between changes do not count: a phone tells them late, and the vehicle they then name may have
    been assigned after they happened.
    """
    changes: list[tuple[int | None, datetime]] = []
    for checkpoint in announced:
        if not changes:
            changes.append((checkpoint.vehicle_id, min(checkpoint.occurred_at, start)))
        elif changes[-1][0] != checkpoint.vehicle_id:
            changes.append((checkpoint.vehicle_id, checkpoint.occurred_at))
    return changes


def travelled_m(points: Iterable[Point]) -> float:
    """The length of a track in metres; moves shorter than `STEP_M` wait until they add up."""
    total = 0.0
    anchor: Point | None = None
    for point in points:
        if anchor is None:
            anchor = point
            continue
        step = distance_m(*anchor, *point)
        if step >= STEP_M:
            total += step
            anchor = point
    return total


def driven(
    session: Session, delivery: Delivery, record: Sequence[DeliveryCheckpoint], now: datetime
) -> Driven:
    """As its fixes tell, or as it was written down before they were removed. ``record``: `announced`."""
    removed_before = fixes_removed_before(session, delivery)
    if delivery.driven_m is not None:
        return Driven(delivery.driven_m, delivery.driven_fixes or 0, True, removed_before)
    told = _driven(session, legs(record, delivery.started_at, delivery.ended_at or now))
    if removed_before is None:
        return told
    return msgspec.structs.replace(told, is_complete=False, removed_before=removed_before)


def fixes_removed_before(session: Session, delivery: Delivery) -> datetime | None:
    """Before when the fixes of its active window are gone; None: all are there."""
    if delivery.started_at is None:
        return None
    before = session.get_one(Company, delivery.company_id).fixes_removed_before
    return before if before is not None and before > delivery.started_at else None


def _driven(session: Session, parts: Sequence[Leg]) -> Driven:
    total, left = 0.0, MAXIMUM_FIXES
    for leg in parts:
        points = _points(session, leg, left)
        total += travelled_m(points)
        left -= len(points)
    return Driven(round(total, 1), MAXIMUM_FIXES - left, left > 0)


def _points(session: Session, leg: Leg, limit: int) -> list[Point]:
    rows = session.execute(
        FIXES, {"vehicle_id": leg.vehicle_id, "start": leg.start, "end": leg.end, "limit": limit}
    )
    return [(row.latitude, row.longitude) for row in rows]


def announced(session: Session, delivery_id: int) -> Sequence[DeliveryCheckpoint]:
    """Every status and assignment checkpoint of the delivery, in order."""
    return session.scalars(
        select(DeliveryCheckpoint)
        .where(
            DeliveryCheckpoint.delivery_id == delivery_id,
            DeliveryCheckpoint.kind != CheckpointKind.LOCATION,
        )
        .order_by(DeliveryCheckpoint.id)
    ).all()


def _counts(session: Session, delivery_id: int) -> dict[CheckpointKind, int]:
    rows = session.execute(
        select(DeliveryCheckpoint.kind, func.count())
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .group_by(DeliveryCheckpoint.kind)
    )
    return dict.fromkeys(CheckpointKind, 0) | {row[0]: row[1] for row in rows}


def _route(session: Session, delivery_id: int, total: int) -> list[DeliveryCheckpoint]:
    """The location checkpoints; of more than `MAXIMUM_ROUTE` evenly every n-th, and always the last."""
    step = max(1, -(-total // MAXIMUM_ROUTE))
    numbered = (
        select(DeliveryCheckpoint.id, func.row_number().over(order_by=DeliveryCheckpoint.id).label("number"))
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .where(DeliveryCheckpoint.kind == CheckpointKind.LOCATION)
        .subquery()
    )
    chosen = select(numbered.c.id).where((numbered.c.number % step == 0) | (numbered.c.number == total))
    return list(
        session.scalars(
            select(DeliveryCheckpoint)
            .where(DeliveryCheckpoint.id.in_(chosen))
            .order_by(DeliveryCheckpoint.id)
        )
    )
