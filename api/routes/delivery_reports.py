"""A delivery's report over REST."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.content import document_formats
from api.content.document_formats import DocumentFormat
from api.dependencies import AuthorizedCall, now
from api.schemas.fields import PathId
from api.schemas.reports import DeliveryReportQuery, ReportOut
from core.reporting import delivery_report
from reports.pages import delivery_page

router = APIRouter(prefix="/deliveries", tags=["deliveries"])


@router.get(
    "/{delivery_id}/report/",
    summary="Read a delivery's report",
    status_code=200,
    response_model=None,
    responses=document_formats.answers(ReportOut),
)
async def report_delivery(
    authorized: AuthorizedCall,
    delivery_id: PathId,
    query: Annotated[DeliveryReportQuery, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Report times, punctuality, the trip, stops, load, proof and checkpoints, as of now.

    * `json`: all of it as data; instants in UTC.
    * `html`: a self-contained page (no network, no scripts) for screen and print, with charts of the route
      and the speed; times in the company's time zone.
    * `pdf`: the same page.

    Customers get their own version: without route, stops, speeds and location checkpoints, which would show
    other customers' stops. With `audience=customer` staff get that version too, to pass it on.
    """
    name = document_formats.asked(accept, query.format)

    def write() -> str:
        with authorized() as (session, actor):
            report = delivery_report.generate(
                session,
                actor,
                delivery_id,
                now(),
                for_customer=query.is_for_customer,
                with_pictures=name is not DocumentFormat.JSON,
            )
        # Rendered outside the transaction, because drawing needs no database.
        if name is DocumentFormat.JSON:
            return ReportOut.of(report).model_dump_json()
        return delivery_page.html(report)

    return await document_formats.answer(authorized, name, write, f"delivery-{delivery_id}-report")
