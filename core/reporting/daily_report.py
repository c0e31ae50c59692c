"""A company's daily report: computed live during the day, stored afterwards.

At night `make` computes and stores the previous day, and restates recent days for which phones have reported
ends since. A stored report stays when fixes and deliveries are purged.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.access.scoping import is_ours
from core.errors import NotFound
from core.models.company import Company
from core.models.report import DailyReport
from core.nightly.nights import Night
from core.notifications import queue
from core.notifications.events import DayReported
from core.reporting import daily_counts, daily_figures
from core.reporting.daily_counts import LocalDay
from core.reporting.daily_figures import DayFigures
from core.rules.times import time_zones

RESTATED_DAYS = 3


class Daily(msgspec.Struct, frozen=True):
    """``is_final``: the day is over, and these are its stored figures."""

    company_name: str
    time_zone: str
    day: date
    starts_at: datetime
    ends_at: datetime
    made_at: datetime
    is_final: bool
    figures: DayFigures


def find(session: Session, actor: Actor, day: date, now: datetime) -> Daily:
    """Return the stored report, or else figures computed now, for today or a day that was not stored.

    For managers and operators. Raises `Forbidden`, and `NotFound` for a future day or one before the company
    was created.
    """
    scoping.require_company_reader(actor)
    company = session.get_one(Company, actor.company_id)
    row = session.scalar(select(DailyReport).where(is_ours(actor, DailyReport), DailyReport.day == day))
    if row is not None:
        return _stored(company, row)
    first, today = (time_zones.day_of(instant, company.time_zone) for instant in (company.created_at, now))
    if not first <= day <= today:
        raise NotFound("daily report")
    return _compute(session, company, day, now)


def stored(session: Session, company_id: int, day: date) -> Daily | None:
    """Return the stored report without an actor, for the system itself."""
    row = session.get(DailyReport, (company_id, day))
    return None if row is None else _stored(session.get_one(Company, company_id), row)


def page(session: Session, actor: Actor, *, before: date | None, limit: int) -> Sequence[DailyReport]:
    """Return stored reports, newest first. For managers and operators."""
    scoping.require_company_reader(actor)
    query = select(DailyReport).where(is_ours(actor, DailyReport))
    if before is not None:
        query = query.where(DailyReport.day < before)
    return session.scalars(query.order_by(DailyReport.day.desc()).limit(limit)).all()


def make(session: Session, night: Night, now: datetime) -> None:
    """Compute and store the day that ended, restate the days before it, and queue the notifications."""
    company = session.get_one(Company, night.company_id)
    daily = _compute(session, company, night.day, now)
    _store(session, company.id, daily)
    for row in _outdated(session, company, night.day):
        _store(session, company.id, _compute(session, company, row.day, now))
    figures = daily.figures
    if figures.total.deliveries or figures.planned or figures.distance_m:
        once = f"daily_report:{daily.day.isoformat()}"
        queue.queue(session, company.id, event_of(daily), now, occurred_at=daily.ends_at, once=once)


def figures_of(row: DailyReport) -> DayFigures:
    return msgspec.convert(row.figures, DayFigures)


def event_of(daily: Daily) -> DayReported:
    """Return the event for e-mails and webhooks: figures only, without names."""
    total = daily.figures.total
    return DayReported(
        day=daily.day,
        deliveries=total.deliveries,
        delivered=total.delivered,
        returned=total.returned,
        failed=total.failed,
        late=total.late,
        on_time_percent=total.on_time_percent,
        distance_km=round(daily.figures.distance_m / 1000, 1),
    )


def _compute(session: Session, company: Company, day: date, now: datetime) -> Daily:
    starts_at, ends_at = time_zones.day_bounds(day, company.time_zone)
    return Daily(
        company_name=company.name,
        time_zone=company.time_zone,
        day=day,
        starts_at=starts_at,
        ends_at=ends_at,
        made_at=now,
        is_final=False,
        figures=daily_counts.compute_figures(session, LocalDay(company.id, starts_at, ends_at), now),
    )


def _outdated(session: Session, company: Company, day: date) -> list[DailyReport]:
    """Return recent reports to restate: phones have reported further ends since they were stored."""
    rows = session.scalars(
        select(DailyReport).where(
            DailyReport.company_id == company.id,
            DailyReport.day >= day - timedelta(days=RESTATED_DAYS),
            DailyReport.day < day,
        )
    ).all()
    return [row for row in rows if _ended(session, row) != figures_of(row).total.deliveries]


def _ended(session: Session, row: DailyReport) -> int:
    cells = daily_counts.cells(session, LocalDay(row.company_id, row.starts_at, row.ends_at))
    return daily_figures.summed(cells).deliveries


def _store(session: Session, company_id: int, daily: Daily) -> None:
    values = {
        "time_zone": daily.time_zone,
        "starts_at": daily.starts_at,
        "ends_at": daily.ends_at,
        "made_at": daily.made_at,
        "figures": msgspec.to_builtins(daily.figures),
    }
    statement = insert(DailyReport).values(company_id=company_id, day=daily.day, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["company_id", "day"], set_=values))


def _stored(company: Company, row: DailyReport) -> Daily:
    return Daily(
        company_name=company.name,
        time_zone=row.time_zone,
        day=row.day,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        made_at=row.made_at,
        is_final=True,
        figures=figures_of(row),
    )
