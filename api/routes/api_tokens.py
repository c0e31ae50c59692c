"""API tokens for integrations. Only managers who logged in may use these routes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.http.idempotency import forbid_keeping
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.api_tokens import ApiTokenIn, ApiTokenMade, ApiTokenOut
from api.schemas.fields import PathId
from api.schemas.pages import Page, PageQuery
from core.accounts import api_tokens
from core.accounts.api_tokens import NewApiToken

router = APIRouter(prefix="/api-tokens", tags=["integrations"], route_class=ApiRoute)


@router.get("/", summary="List API tokens")
def list_api_tokens(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[ApiTokenOut]:
    """List all API tokens, revoked and expired ones too."""
    with authorized() as (session, actor):
        rows = api_tokens.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[ApiTokenOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Create an API token", status_code=201, responses=CONFLICT)
def add_api_token(authorized: AuthorizedCall, body: ApiTokenIn, response: Response) -> ApiTokenMade:
    """Create an API token; `token` is shown only here.

    It acts as a manager of the company, within its scopes.
    """
    forbid_keeping(response)
    with authorized() as (session, actor):
        row, token = api_tokens.add(session, actor, body.to(NewApiToken), now())
        return ApiTokenMade(**ApiTokenOut.model_validate(row).model_dump(), token=token)


@router.delete("/{api_token_id}/", summary="Revoke an API token", status_code=204)
def revoke_api_token(authorized: AuthorizedCall, api_token_id: PathId) -> None:
    """Revoke the token at once; its open sockets close within seconds."""
    with authorized() as (session, actor):
        api_tokens.revoke(session, actor, api_token_id, now())
