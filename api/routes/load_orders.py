"""Load orders over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall
from api.http import cursors
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.fields import PathId
from api.schemas.loads import LoadOrderIn, LoadOrderOut, LoadOrderPatch, LoadTotalsOut
from api.schemas.pages import Page, PageQuery
from core.deliveries import load_orders

router = APIRouter(prefix="/load-orders", tags=["loads"], route_class=ApiRoute)


@router.get("/", summary="List load orders")
def list_load_orders(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[LoadTotalsOut]:
    """List load orders with their totals; read one to get its items.

    Requires the manager or operator role.
    """
    with authorized() as (session, actor):
        rows = load_orders.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[LoadTotalsOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a load order", status_code=201)
def add_load_order(authorized: AuthorizedCall, body: LoadOrderIn, response: Response) -> LoadOrderOut:
    """Add a load order, which deliveries name with `load_order_id`. Requires the manager role."""
    with authorized() as (session, actor):
        order = load_orders.add(session, actor, body.new())
        response.headers["Location"] = f"/load-orders/{order.id}/"
        return LoadOrderOut.of(order)


@router.get("/{load_order_id}/", summary="Read a load order")
def read_load_order(authorized: AuthorizedCall, load_order_id: PathId) -> LoadOrderOut:
    """Read a load order with its items.

    Requires the manager or operator role; others see a load with its delivery.
    """
    with authorized() as (session, actor):
        return LoadOrderOut.of(load_orders.find(session, actor, load_order_id))


@router.patch("/{load_order_id}/", summary="Change a load order")
def edit_load_order(authorized: AuthorizedCall, load_order_id: PathId, body: LoadOrderPatch) -> LoadOrderOut:
    """Change a load order. Requires the manager role. `items` are replaced as a whole."""
    with authorized() as (session, actor):
        return LoadOrderOut.of(load_orders.edit(session, actor, load_order_id, body.changes()))


@router.delete("/{load_order_id}/", summary="Delete a load order", status_code=204, responses=CONFLICT)
def delete_load_order(authorized: AuthorizedCall, load_order_id: PathId) -> None:
    """Delete a load order. 409 once a delivery carries it."""
    with authorized() as (session, actor):
        load_orders.delete(session, actor, load_order_id)
