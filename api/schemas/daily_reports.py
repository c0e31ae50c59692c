"""A company's daily report, and the list of them."""

from datetime import date, datetime
from typing import Annotated, Self

from fastapi import Path
from pydantic import BeforeValidator, Field

from api.content.document_formats import DocumentFormat
from api.schemas.fields import Input, Output
from core.models.report import DailyReport
from core.reporting import daily_report
from core.reporting.daily_figures import DayFigures
from core.reporting.daily_report import Daily
from core.rules.enums import Status


def _iso_day(value: object) -> object:
    """Refuse other values that pydantic reads as a date: epoch seconds, instants."""
    if not isinstance(value, str) or len(value) != len("2026-03-01"):
        raise ValueError("must be a date, as in 2026-03-01")
    return value


Day = Annotated[date, BeforeValidator(_iso_day)]
PathDay = Annotated[Day, Path(examples=["2026-03-01"])]


class DailyReportQuery(Input):
    format: Annotated[DocumentFormat | None, Field(description="instead of the `Accept` header")] = None


class TallyOut(Output):
    """Counts of ended deliveries.

    ``on_time_percent`` is of those with a time window; null where none had one.
    """

    deliveries: int
    delivered: int
    returned: int
    failed: int
    with_window: int
    on_time: int
    late: int
    delivered_late: int
    late_seconds: float
    on_time_percent: float | None


class HourOut(Output):
    start: datetime
    tally: TallyOut


class ShareOut(Output):
    """One driver's or vehicle's share; ``id`` is null for deliveries without one."""

    id: int | None
    name: str
    tally: TallyOut
    distance_m: float


class ReasonOut(Output):
    """A reason with its deliveries.

    Reasons that differ only in case and blanks are merged; rare ones are grouped together.
    """

    reason: str
    status: Status
    delivery_ids: list[int]


class ProblemOut(Output):
    delivery_id: int
    reference: str
    status: Status
    ended_at: datetime
    late_seconds: float
    reason: str | None


class DayFiguresOut(Output):
    """Figures of a day.

    ``planned``: the delivery's time (its window's start, else its creation) is in the day. ``under_way`` and
    ``overdue`` are as of the day's end. A driver's distance is with deliveries under way, a vehicle's that of
    the whole day; ``distance_m`` is the sum over the vehicles. ``problems`` are late, failed or returned
    deliveries.
    """

    planned: int
    under_way: int
    overdue: int
    total: TallyOut
    distance_m: float
    hours: list[HourOut]
    drivers: list[ShareOut]
    vehicles: list[ShareOut]
    reasons: list[ReasonOut]
    problems: list[ProblemOut]
    problems_left_out: int


class DailyReportOut(Output):
    """A daily report. ``is_final``: made after the day's end and stored; else figures as of ``made_at``."""

    company_name: str
    time_zone: str
    day: date
    starts_at: datetime
    ends_at: datetime
    made_at: datetime
    is_final: bool
    figures: DayFiguresOut

    @classmethod
    def of(cls, daily: Daily) -> Self:
        return cls.model_validate(daily)


class DayOut(Output):
    """A stored day with its main figures."""

    day: date
    time_zone: str
    made_at: datetime
    total: TallyOut
    distance_m: float

    @classmethod
    def of(cls, row: DailyReport) -> Self:
        figures: DayFigures = daily_report.figures_of(row)
        return cls(
            day=row.day,
            time_zone=row.time_zone,
            made_at=row.made_at,
            total=TallyOut.model_validate(figures.total),
            distance_m=figures.distance_m,
        )
