"""The company's daily reports over REST."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.content import document_formats
from api.content.document_formats import DocumentFormat
from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.schemas.daily_reports import DailyReportOut, DailyReportQuery, DayOut, PathDay
from api.schemas.pages import Page, PageQuery
from core.errors import InvalidValue
from core.reporting import daily_report
from reports.pages import daily_page

router = APIRouter(prefix="/reports/daily", tags=["reports"])


@router.get("/", summary="List daily reports")
def list_daily_reports(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[DayOut]:
    """List the finished and stored days, newest first. Requires the manager or operator role."""
    before = _day_key(query.cursor)
    with authorized() as (session, actor):
        rows = daily_report.page(session, actor, before=before, limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.day.toordinal())
        return Page(items=[DayOut.of(row) for row in shown], next=following)


@router.get(
    "/{day}/",
    summary="Read a daily report",
    status_code=200,
    response_model=None,
    responses=document_formats.answers(DailyReportOut),
)
async def report_day(
    authorized: AuthorizedCall,
    day: PathDay,
    query: Annotated[DailyReportQuery, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Report one day: counts, on-time rate, failure reasons, drivers, vehicles, distance.

    Requires the manager or operator role. A day is local to the company's time zone and has 23 to 25 hours; a
    delivery counts for the day on which it ended. Reports of finished days are made at night and stay as they
    were; today is counted so far, and so is a day without a stored report. A future day, or one before the
    company began, is 404.
    """
    name = document_formats.asked(accept, query.format)

    def write() -> str:
        with authorized() as (session, actor):
            daily = daily_report.find(session, actor, day, now())
        if name is DocumentFormat.JSON:
            return DailyReportOut.of(daily).model_dump_json()
        return daily_page.html(daily)

    return await document_formats.answer(authorized, name, write, f"daily-report-{day.isoformat()}")


def _day_key(cursor: str | None) -> date | None:
    number = cursors.number_key(cursor)
    if number is None:
        return None
    if not 1 <= number <= date.max.toordinal():
        raise InvalidValue("cursor", "is not a cursor of this list; leave it out to begin at the start")
    return date.fromordinal(number)
