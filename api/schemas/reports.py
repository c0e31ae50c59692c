"""A delivery's report."""

from datetime import datetime
from typing import Self

from api.schemas.deliveries import DeliveryOut
from api.schemas.fields import Output
from api.schemas.tracking import CheckpointOut
from core.delivery_report import DeliveryReport
from core.models import CheckpointKind, Status


class PhaseOut(Output):
    """``ended_at`` is null for the present status; its seconds run up to ``generated_at``."""

    status: Status
    started_at: datetime
    ended_at: datetime | None
    seconds: float


class PunctualityOut(Output):
    """``on_time`` is null while nobody can tell, or without a window."""

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
    """Along the fixes from start to end; ``is_complete`` is false when not all could be counted.

    ``removed_before``: the company keeps its vehicles' fixes for a time, and those of this delivery from
    before that instant are gone; the distance was measured when they went.
    """

    distance_m: float
    fixes: int
    is_complete: bool
    removed_before: datetime | None


class ReportOut(Output):
    """``route`` and ``counts`` are null for customers: they would show other customers' stops."""

    delivery: DeliveryOut
    generated_at: datetime
    timeline: list[CheckpointOut]
    phases: list[PhaseOut]
    punctuality: PunctualityOut
    active_seconds: float | None
    load: LoadTotals
    driven: DrivenOut
    counts: dict[CheckpointKind, int] | None
    route: list[CheckpointOut] | None

    @classmethod
    def of(cls, report: DeliveryReport) -> Self:
        route = None if report.route is None else [CheckpointOut.of(one) for one in report.route]
        return cls(
            delivery=DeliveryOut.of(report.delivery),
            generated_at=report.generated_at,
            timeline=[CheckpointOut.of(one, names_actor=route is not None) for one in report.timeline],
            phases=[PhaseOut.model_validate(phase) for phase in report.phases],
            punctuality=PunctualityOut.model_validate(report.punctuality),
            active_seconds=report.active_seconds,
            load=LoadTotals.model_validate(report.load),
            driven=DrivenOut.model_validate(report.driven),
            counts=report.counts,
            route=route,
        )
