"""The audit log over REST."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AuthorizedCall
from api.http import cursors
from api.schemas.audit import AuditOut, AuditQuery
from api.schemas.pages import Page
from core.records import audit

router = APIRouter(prefix="/audit", tags=["integrations"])


@router.get("/", summary="List the audit log")
def list_audit(authorized: AuthorizedCall, query: Annotated[AuditQuery, Query()]) -> Page[AuditOut]:
    """List changes, newest first. Requires the manager role.

    Personal data and secrets are named, never shown.
    """
    with authorized() as (session, actor):
        rows = audit.page(
            session,
            actor,
            query.selection(),
            before_id=cursors.number_key(query.cursor),
            limit=query.limit + 1,
        )
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[AuditOut.model_validate(row) for row in shown], next=following)
