"""A delivery's report: times, lateness, trip, stops, load, proof of delivery and history.

Pure except `generate`, which reads the database.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import lookup
from core.deliveries.proofs import showing
from core.deliveries.proofs.showing import ProofFact
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.load_order import LoadItem
from core.models.people import Customer
from core.reporting import record_names, shown_proofs
from core.reporting.record_names import Names
from core.reporting.shown_proofs import ProofShown
from core.rules.enums import CheckpointKind, Status
from core.rules.lifecycle import FINAL
from core.trips.reading import Driven, measured
from core.trips.segments import announced
from core.trips.speeds import SpeedStep
from core.trips.stops import Stop

MAXIMUM_ROUTE = 2_000


class Phase(msgspec.Struct, frozen=True):
    """The time in one status. ``ended_at`` is None for the present status, which is counted up to now."""

    status: Status
    started_at: datetime
    ended_at: datetime | None
    seconds: float


class Punctuality(msgspec.Struct, frozen=True):
    """Punctuality by the window's end. ``on_time`` is None while it is undecided, or without a window."""

    window_start: datetime | None
    window_end: datetime | None
    on_time: bool | None
    late_seconds: float | None


class LoadSummary(msgspec.Struct, frozen=True):
    """Totals over the items; a missing weight or volume counts as 0."""

    items: int
    quantity: int
    weight_kg: float
    volume_m3: float


class DeliveryReport(msgspec.Struct, frozen=True):
    """Fields that are None for customers would show other customers' stops, and `names` the company's staff.

    ``proven`` describes the proofs; ``proofs`` adds their pictures for a page, else it is None.

    ``time_zone`` is the company's. ``route`` has at most about `MAXIMUM_ROUTE` location checkpoints, evenly
    thinned; ``counts`` has the true number.
    """

    delivery: Delivery
    company_name: str
    time_zone: str
    customer_name: str
    generated_at: datetime
    timeline: list[DeliveryCheckpoint]
    phases: list[Phase]
    punctuality: Punctuality
    active_seconds: float | None
    load: LoadSummary
    driven: Driven
    names: Names
    proven: list[ProofFact]
    proofs: list[ProofShown] | None
    proof_checkpoints: list[DeliveryCheckpoint]
    assignments: list[DeliveryCheckpoint] | None
    counts: dict[CheckpointKind, int] | None
    route: list[DeliveryCheckpoint] | None
    stops: list[Stop] | None
    speeds: list[SpeedStep] | None

    @property
    def is_for_customer(self) -> bool:
        return self.route is None

    @property
    def record(self) -> list[DeliveryCheckpoint]:
        """Return all checkpoints shown, in the order in which they happened."""
        shown = [*self.timeline, *self.proof_checkpoints, *(self.assignments or []), *(self.route or [])]
        return sorted(shown, key=lambda checkpoint: (checkpoint.occurred_at, checkpoint.id))


def generate(
    session: Session,
    actor: Actor,
    delivery_id: int,
    now: datetime,
    *,
    for_customer: bool = False,
    with_pictures: bool = False,
) -> DeliveryReport:
    """Read the database and compute the report. Raises `NotFound`.

    ``for_customer`` makes the customer's version for any actor, to be handed on.
    """
    delivery = lookup.find(session, actor, delivery_id)
    company = session.get_one(Company, delivery.company_id)
    sees_track = actor.sees_track and not for_customer
    record = announced(session, delivery_id)
    timeline = _of_kind(record, CheckpointKind.STATUS)
    proven = showing.of_delivery(session, delivery_id)
    proof_checkpoints = _proof_checkpoints(session, delivery_id)
    counts = _counts(session, delivery_id)
    route = _route(session, delivery_id, counts[CheckpointKind.LOCATION]) if sees_track else None
    drive = measured(
        session,
        delivery,
        record,
        now,
        lambda: route or location_checkpoints(session, delivery_id),
    )
    return DeliveryReport(
        delivery=delivery,
        company_name=company.name,
        time_zone=company.time_zone,
        customer_name=session.get_one(Customer, delivery.customer_id).name,
        generated_at=now,
        timeline=timeline,
        phases=phases(timeline, now),
        punctuality=punctuality(delivery, now),
        active_seconds=active_seconds(delivery, now),
        load=load(delivery.load_order.items if delivery.load_order else ()),
        driven=drive if sees_track else msgspec.structs.replace(drive, drive=None),
        names=Names() if route is None else record_names.read(session, [*record, *proof_checkpoints, *route]),
        proven=proven,
        proofs=shown_proofs.read(session, delivery_id, proven) if with_pictures else None,
        proof_checkpoints=proof_checkpoints,
        assignments=_of_kind(record, CheckpointKind.ASSIGNMENT) if sees_track else None,
        counts=counts if sees_track else None,
        route=route,
        stops=(drive.drive.stops if drive.drive else []) if sees_track else None,
        speeds=(drive.drive.speeds if drive.drive else []) if sees_track else None,
    )


def location_checkpoints(session: Session, delivery_id: int) -> list[DeliveryCheckpoint]:
    """Return the location checkpoints as in the report's route."""
    return _route(session, delivery_id, _counts(session, delivery_id)[CheckpointKind.LOCATION])


def _of_kind(record: Sequence[DeliveryCheckpoint], kind: CheckpointKind) -> list[DeliveryCheckpoint]:
    return [checkpoint for checkpoint in record if checkpoint.kind is kind]


def phases(timeline: Sequence[DeliveryCheckpoint], now: datetime) -> list[Phase]:
    """Return one phase per status; none is negative, although a phone's clock may be wrong."""
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
    """Return the punctuality. A failed or returned delivery is never on time, however early it ended."""
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
    """Return the seconds from the pickup's start to the end, or to now; None before the start."""
    if delivery.started_at is None:
        return None
    return max(0.0, ((delivery.ended_at or now) - delivery.started_at).total_seconds())


def load(items: Iterable[LoadItem]) -> LoadSummary:
    rows = list(items)
    return LoadSummary(
        items=len(rows),
        quantity=sum(row.quantity for row in rows),
        weight_kg=sum(row.weight_kg or 0.0 for row in rows),
        volume_m3=sum(row.volume_m3 or 0.0 for row in rows),
    )


def _proof_checkpoints(session: Session, delivery_id: int) -> list[DeliveryCheckpoint]:
    query = select(DeliveryCheckpoint).where(
        DeliveryCheckpoint.delivery_id == delivery_id, DeliveryCheckpoint.kind == CheckpointKind.PROOF
    )
    return list(session.scalars(query.order_by(DeliveryCheckpoint.id)))


def _counts(session: Session, delivery_id: int) -> dict[CheckpointKind, int]:
    rows = session.execute(
        select(DeliveryCheckpoint.kind, func.count())
        .where(DeliveryCheckpoint.delivery_id == delivery_id)
        .group_by(DeliveryCheckpoint.kind)
    )
    return dict.fromkeys(CheckpointKind, 0) | {row[0]: row[1] for row in rows}


def _route(session: Session, delivery_id: int, total: int) -> list[DeliveryCheckpoint]:
    """Return the location checkpoints, every n-th of more than `MAXIMUM_ROUTE`, and always the last."""
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
