"""Messages of the own devices that could not be used."""

from typing import Annotated

from fastapi import APIRouter, Query

from api import pages
from api.dependencies import AuthorizedCall
from api.idempotency import OnceRoute
from api.schemas.pages import Page, PageQuery
from api.schemas.quarantine import QuarantineOut
from core import quarantine

router = APIRouter(prefix="/quarantine", tags=["fleet"], route_class=OnceRoute)


@router.get("/", summary="List refused messages")
def list_quarantine(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[QuarantineOut]:
    """Newest first, for managers. Messages of unknown devices belong to no company."""
    with authorized() as (session, actor):
        rows = quarantine.page(
            session, actor, before_id=pages.number_key(query.cursor), limit=query.limit + 1
        )
        shown, following = pages.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[QuarantineOut.of(row) for row in shown], next=following)
