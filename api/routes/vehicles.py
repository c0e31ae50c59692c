"""Vehicles over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.companions import VehicleIn, VehicleOut, VehiclePatch
from api.schemas.fields import PathId
from api.schemas.pages import Page, PageQuery
from core.fleet import vehicles
from core.fleet.vehicles import NewVehicle, VehicleChanges

router = APIRouter(prefix="/vehicles", tags=["fleet"], route_class=ApiRoute)


@router.get("/", summary="List vehicles")
def list_vehicles(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[VehicleOut]:
    """List vehicles, archived ones too. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = vehicles.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[VehicleOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a vehicle", status_code=201)
def add_vehicle(authorized: AuthorizedCall, body: VehicleIn, response: Response) -> VehicleOut:
    """Add a vehicle. Requires the manager role."""
    with authorized() as (session, actor):
        vehicle = vehicles.add(session, actor, body.to(NewVehicle))
        response.headers["Location"] = f"/vehicles/{vehicle.id}/"
        return VehicleOut.model_validate(vehicle)


@router.get("/{vehicle_id}/", summary="Read a vehicle")
def read_vehicle(authorized: AuthorizedCall, vehicle_id: PathId) -> VehicleOut:
    """Read a vehicle with its newest position. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return VehicleOut.model_validate(vehicles.find(session, actor, vehicle_id))


@router.patch("/{vehicle_id}/", summary="Change some of a vehicle's fields")
def edit_vehicle(authorized: AuthorizedCall, vehicle_id: PathId, body: VehiclePatch) -> VehicleOut:
    """Change a vehicle. Requires the manager role. Omitted fields stay as they are; null clears."""
    with authorized() as (session, actor):
        vehicle = vehicles.edit(session, actor, vehicle_id, body.to(VehicleChanges))
        return VehicleOut.model_validate(vehicle)


@router.post("/{vehicle_id}/archive/", summary="Archive a vehicle", responses=CONFLICT)
def archive_vehicle(authorized: AuthorizedCall, vehicle_id: PathId) -> VehicleOut:
    """Archive the vehicle: it keeps its old deliveries, and its devices' fixes are refused.

    409 while it has an open delivery.
    """
    with authorized() as (session, actor):
        return VehicleOut.model_validate(vehicles.archive(session, actor, vehicle_id, now()))


@router.post("/{vehicle_id}/restore/", summary="Restore an archived vehicle")
def restore_vehicle(authorized: AuthorizedCall, vehicle_id: PathId) -> VehicleOut:
    """Restore the vehicle. Its devices' fixes are accepted again."""
    with authorized() as (session, actor):
        return VehicleOut.model_validate(vehicles.restore(session, actor, vehicle_id))
