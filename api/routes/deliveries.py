"""Deliveries over REST: each route is one call to `core`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, LiveOf, now
from api.fast_path.handler import fast_path
from api.http import cursors, etags
from api.http.etags import IfMatch
from api.http.openapi import CONFLICT, EDITED
from api.http.route import ApiRoute
from api.schemas.deliveries import (
    DeliveryDetail,
    DeliveryEdit,
    DeliveryNew,
    DeliveryOut,
    DeliveryPatch,
)
from api.schemas.delivery_query import DeliveryQuery
from api.schemas.fields import PathId
from api.schemas.pages import Page, PageQuery
from api.schemas.tracking import CheckpointOut, LocationIn, LocationOut, StatusIn, StatusOut
from core.deliveries import checkpoints, commands, detail, listing, load_orders, lookup, status_changes
from core.deliveries import whereabouts as delivery_whereabouts
from core.deliveries.status_changes import StatusRequest
from core.positions import report

router = APIRouter(prefix="/deliveries", tags=["deliveries"], route_class=ApiRoute)


@router.get("/", summary="List deliveries")
@fast_path
def list_deliveries(
    authorized: AuthorizedCall, query: Annotated[DeliveryQuery, Query()]
) -> Page[DeliveryOut]:
    """List deliveries, newest first: a driver's own, a customer's own, or the whole company's."""
    filters = query.filters()
    after = cursors.delivery_key(query.cursor, by_time=filters.by_time)
    with authorized() as (session, actor):
        rows = listing.page(session, actor, filters, after=after, limit=query.limit + 1)
        shown, following = cursors.cut(
            rows, query.limit, lambda row: cursors.delivery_text(listing.key_of(row, filters))
        )
        return Page(items=[DeliveryOut.listed(row) for row in shown], next=following)


@router.post("/", summary="Create a delivery", status_code=201)
def create_delivery(authorized: AuthorizedCall, body: DeliveryNew, response: Response) -> DeliveryDetail:
    """Create a pending delivery. Inline `items` become a load order with the delivery's reference."""
    load = body.new_load()
    with authorized() as (session, actor):
        load_order_id = body.load_order_id if load is None else load_orders.add(session, actor, load).id
        delivery = commands.create(session, actor, body.new(load_order_id), now())
        response.headers["Location"] = f"/deliveries/{delivery.id}/"
        etags.tag(response, delivery.version)
        return DeliveryDetail.seen(delivery)


@router.get("/{delivery_id}/", summary="Read a delivery")
@fast_path
def read_delivery(authorized: AuthorizedCall, delivery_id: PathId, response: Response) -> DeliveryDetail:
    """Read a delivery, with its vehicle's position and the ETA while it is under way.

    Its `ETag` is for `If-Match`.
    """
    with authorized() as (session, actor):
        delivery, whereabouts = detail.find(session, actor, delivery_id)
        etags.tag(response, delivery.version)
        return DeliveryDetail.seen(delivery, whereabouts)


@router.put("/{delivery_id}/", summary="Replace a delivery's fields", responses=EDITED)
def replace_delivery(
    authorized: AuthorizedCall, delivery_id: PathId, body: DeliveryEdit, if_match: IfMatch, response: Response
) -> DeliveryDetail:
    """Replace every field that can be edited; omitted fields become null."""
    with authorized() as (session, actor):
        delivery = commands.edit(session, actor, delivery_id, body.replacement(), now(), versions=if_match)
        etags.tag(response, delivery.version)
        return DeliveryDetail.seen(delivery, delivery_whereabouts.whereabouts(session, delivery))


@router.patch("/{delivery_id}/", summary="Change some of a delivery's fields", responses=EDITED)
def edit_delivery(
    authorized: AuthorizedCall,
    delivery_id: PathId,
    body: DeliveryPatch,
    if_match: IfMatch,
    response: Response,
) -> DeliveryDetail:
    """Change the fields that are sent. Assigning a driver or a vehicle is an edit and adds a checkpoint."""
    with authorized() as (session, actor):
        delivery = commands.edit(session, actor, delivery_id, body.changes(), now(), versions=if_match)
        etags.tag(response, delivery.version)
        return DeliveryDetail.seen(delivery, delivery_whereabouts.whereabouts(session, delivery))


@router.post(
    "/{delivery_id}/location/",
    summary="Report the vehicle's location",
    status_code=201,
    response_model=LocationOut,
    responses=CONFLICT,
)
@fast_path
def report_location(
    authorized: AuthorizedCall, live: LiveOf, delivery_id: PathId, body: LocationIn
) -> Response:
    """Report a location, for drivers without MQTT. 201 means that it is stored.

    409 unless the delivery is under way and has a vehicle.
    """
    received_at = authorized.received_at
    fix = body.fix(received_at)
    with authorized() as (session, actor):
        reported = report.report(session, actor, delivery_id, fix, received_at)
        authorized.afterwards(lambda: live.publish(reported.facts))
    answer = LocationOut(
        result="stored" if reported.is_fresh else "duplicate", fix_time=fix.fix_time, eta=reported.eta
    )
    return Response(answer.model_dump_json(), status_code=201, media_type="application/json")


@router.post("/{delivery_id}/status/", summary="Change a delivery's status", responses=EDITED)
@fast_path
def change_status(
    authorized: AuthorizedCall, delivery_id: PathId, body: StatusIn, if_match: IfMatch, response: Response
) -> StatusOut:
    """Change the status. Requires the delivery's driver or the manager role.

    The same change again by the same user or integration returns `unchanged`, by another 409. 409 also where
    the company requires a proof of delivery that is missing: `ProofRequired` names its parts.
    """
    location = (body.location.latitude, body.location.longitude) if body.location else None
    request = StatusRequest(
        status=body.status, reason=body.reason, occurred_at=body.occurred_at, location=location
    )
    with authorized() as (session, actor):
        change = status_changes.change_status(session, actor, delivery_id, request, now(), versions=if_match)
        etags.tag(response, change.delivery.version)
        return StatusOut.of(change)


@router.get("/{delivery_id}/checkpoints/", summary="List a delivery's checkpoints")
def list_checkpoints(
    authorized: AuthorizedCall, delivery_id: PathId, query: Annotated[PageQuery, Query()]
) -> Page[CheckpointOut]:
    """List the delivery's checkpoints, oldest first, each with its actor.

    A location names the device that reported its fix. Customers get only status changes and proofs, and only
    the kind of their actors.
    """
    after_id = cursors.number_key(query.cursor) or 0
    with authorized() as (session, actor):
        lookup.require_visible(session, actor, delivery_id)
        rows = checkpoints.page(session, actor, delivery_id, after_id=after_id, limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        items = [CheckpointOut.of(row, names_actor=actor.sees_track) for row in shown]
        return Page(items=items, next=following)
