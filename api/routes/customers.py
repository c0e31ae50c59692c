"""Customers over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.companions import CustomerIn, CustomerOut, CustomerPatch, ErasureIn
from api.schemas.fields import PathId
from api.schemas.pages import Page, PageQuery
from core.fleet import customers
from core.fleet.customers import CustomerChanges, NewCustomer
from core.operations import erasure

router = APIRouter(prefix="/customers", tags=["customers"], route_class=ApiRoute)


@router.get("/", summary="List customers")
def list_customers(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[CustomerOut]:
    """List customers, archived ones too. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = customers.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[CustomerOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a customer", status_code=201)
def add_customer(authorized: AuthorizedCall, body: CustomerIn, response: Response) -> CustomerOut:
    """Add a customer. Requires the manager role."""
    with authorized() as (session, actor):
        customer = customers.add(session, actor, body.to(NewCustomer))
        response.headers["Location"] = f"/customers/{customer.id}/"
        return CustomerOut.model_validate(customer)


@router.get("/{customer_id}/", summary="Read a customer")
def read_customer(authorized: AuthorizedCall, customer_id: PathId) -> CustomerOut:
    """Read a customer, also an archived one. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return CustomerOut.model_validate(customers.find(session, actor, customer_id))


@router.patch("/{customer_id}/", summary="Change some of a customer's fields", responses=CONFLICT)
def edit_customer(authorized: AuthorizedCall, customer_id: PathId, body: CustomerPatch) -> CustomerOut:
    """Change a customer. Requires the manager role.

    Omitted fields stay as they are; null clears. 409 for an erased customer.
    """
    with authorized() as (session, actor):
        customer = customers.edit(session, actor, customer_id, body.to(CustomerChanges))
        return CustomerOut.model_validate(customer)


@router.post("/{customer_id}/archive/", summary="Archive a customer", responses=CONFLICT)
def archive_customer(authorized: AuthorizedCall, customer_id: PathId) -> CustomerOut:
    """Archive the customer: it keeps its old deliveries, and its users are disabled.

    409 while it has an open delivery.
    """
    with authorized() as (session, actor):
        return CustomerOut.model_validate(customers.archive(session, actor, customer_id, now()))


@router.post("/{customer_id}/restore/", summary="Restore an archived customer", responses=CONFLICT)
def restore_customer(authorized: AuthorizedCall, customer_id: PathId) -> CustomerOut:
    """Restore the customer. Its users stay disabled until a manager enables them.

    409 for an erased customer.
    """
    with authorized() as (session, actor):
        return CustomerOut.model_validate(customers.restore(session, actor, customer_id))


@router.post("/{customer_id}/erase/", summary="Erase a customer's personal data", responses=CONFLICT)
def erase_customer(authorized: AuthorizedCall, customer_id: PathId, body: ErasureIn) -> CustomerOut:
    """Erase for good whatever identifies the customer. Requires the manager role.

    From the customer and all its deliveries, names, addresses, coordinates, references, free texts, messages
    and logins are erased; statuses, times, loads and distances stay. Repeating the request is harmless. 409
    while it has an open delivery: end that first.
    """
    assert body.confirm
    with authorized() as (session, actor):
        return CustomerOut.model_validate(erasure.erase(session, actor, customer_id, now()))
