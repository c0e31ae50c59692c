"""A delivery's report: times, lateness, trip, stops, load, proof of delivery and history."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import lookup
from core.deliveries.proofs import showing
from core.deliveries.proofs.showing import ProofFact
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.people import Customer
from core.reporting import delivery_figures, record_names, shown_proofs
from core.reporting.delivery_figures import LoadSummary, Phase, Punctuality
from core.reporting.record_names import Names
from core.reporting.shown_proofs import ProofShown
from core.rules.enums import CheckpointKind
from core.trips.reading import Driven, measured
from core.trips.segments import announced
from core.trips.speeds import SpeedStep
from core.trips.stops import Stop

MAXIMUM_ROUTE = 2_000


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
        phases=delivery_figures.phases(timeline, now),
        punctuality=delivery_figures.punctuality(delivery, now),
        active_seconds=delivery_figures.active_seconds(delivery, now),
        load=delivery_figures.load(delivery.load_order.items if delivery.load_order else ()),
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
