"""Refused messages of the company's own devices."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AuthorizedCall
from api.http import cursors
from api.http.route import ApiRoute
from api.schemas.pages import PageQuery
from api.schemas.quarantine import NotKeptOut, QuarantineOut, QuarantinePage
from core.records import quarantine

router = APIRouter(prefix="/quarantine", tags=["fleet"], route_class=ApiRoute)


@router.get("/", summary="List refused messages")
def list_quarantine(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> QuarantinePage:
    """List refused messages, newest first. Requires the manager role.

    Messages of unknown devices belong to no company. Per device and hour 100 messages and 256 KiB are kept,
    per company and hour 2,000 and 2 MiB; of each message at most 64 KiB. Messages beyond that are counted in
    `not_kept`; of these only the beginning of the last is kept.
    """
    with authorized() as (session, actor):
        rows = quarantine.page(
            session, actor, before_id=cursors.number_key(query.cursor), limit=query.limit + 1
        )
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        counted = [NotKeptOut.of(row) for row in quarantine.not_kept(session, actor)]
        return QuarantinePage(
            items=[QuarantineOut.of(row) for row in shown], next=following, not_kept=counted
        )
