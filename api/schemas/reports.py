"""A delivery's report."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from api.content.document_formats import DocumentFormat
from api.schemas.deliveries import DeliveryWithLoad
from api.schemas.fields import Input, Output
from api.schemas.proofs import ProofOut
from api.schemas.tracking import CheckpointOut
from core.reporting.delivery_report import DeliveryReport
from core.rules.enums import CheckpointKind, Status
from core.trips.reading import Source


class DeliveryReportQuery(Input):
    format: Annotated[DocumentFormat | None, Field(description="instead of the `Accept` header")] = None
    audience: Annotated[
        Literal["customer"] | None, Field(description="the customer's version, for every role")
    ] = None

    @property
    def is_for_customer(self) -> bool:
        return self.audience == "customer"


class PhaseOut(Output):
    """The time in one status. ``ended_at`` is null for the present one, counted up to ``generated_at``."""

    status: Status
    started_at: datetime
    ended_at: datetime | None
    seconds: float


class PunctualityOut(Output):
    """Planned against actual times. ``on_time`` is null while it is undecided, or without a time window."""

    window_start: datetime | None
    window_end: datetime | None
    on_time: bool | None
    late_seconds: float | None


class LoadTotals(Output):
    items: int
    quantity: int
    weight_kg: float
    volume_m3: float


class DrivenOut(Output):
    """The distance from start to end along the fixes, or the location checkpoints once the fixes are purged.

    ``is_complete`` is false when not every fix could be used: there were too many, or they are purged.

    ``removed_before``: the company's retention policy has purged this delivery's fixes from before that
    instant; the distance was measured before the purge.
    """

    distance_m: float
    fixes: int
    is_complete: bool
    removed_before: datetime | None
    measured_by: Source


class StopOut(Output):
    """A place where a vehicle stood for 3 minutes or longer."""

    start: datetime
    end: datetime
    seconds: float
    latitude: float
    longitude: float


class SpeedOut(Output):
    """Speed of the fixes within ``seconds`` from ``start`` on."""

    start: datetime
    seconds: float
    average_kmh: float
    maximum_kmh: float


class ReportOut(Output):
    """A delivery's report.

    For customers ``assignments``, ``counts``, ``route``, ``stops`` and ``speeds`` are null: they would show
    other customers' stops. ``timeline`` has the status checkpoints and ``route`` the location checkpoints,
    above 2,000 evenly every n-th; ``counts`` has their numbers.
    """

    delivery: DeliveryWithLoad
    company_name: str
    customer_name: str
    time_zone: str
    generated_at: datetime
    timeline: list[CheckpointOut]
    phases: list[PhaseOut]
    punctuality: PunctualityOut
    active_seconds: float | None
    load: LoadTotals
    driven: DrivenOut
    proofs: list[ProofOut]
    assignments: list[CheckpointOut] | None
    counts: dict[CheckpointKind, int] | None
    route: list[CheckpointOut] | None
    stops: list[StopOut] | None
    speeds: list[SpeedOut] | None

    @classmethod
    def of(cls, report: DeliveryReport) -> Self:
        """Build from a report; every field but the checkpoints has the report's own name."""
        plain = {name: getattr(report, name) for name in cls.model_fields}
        is_named = not report.is_for_customer
        shown = {
            name: None if found is None else [CheckpointOut.of(one, names_actor=is_named) for one in found]
            for name, found in (
                ("timeline", report.timeline),
                ("assignments", report.assignments),
                ("route", report.route),
            )
        }
        proofs = [ProofOut.of(report.delivery.id, one) for one in report.proven]
        whole = plain | shown | {"delivery": DeliveryWithLoad.of(report.delivery), "proofs": proofs}
        return cls.model_validate(whole)
