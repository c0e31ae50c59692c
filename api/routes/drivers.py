"""Drivers over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.companions import DriverIn, DriverOut, DriverPatch
from api.schemas.fields import PathId
from api.schemas.pages import Page, PageQuery
from core.fleet import drivers
from core.fleet.drivers import DriverChanges, NewDriver

router = APIRouter(prefix="/drivers", tags=["fleet"], route_class=ApiRoute)


@router.get("/", summary="List drivers")
def list_drivers(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[DriverOut]:
    """List drivers, archived ones too. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = drivers.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[DriverOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a driver", status_code=201)
def add_driver(authorized: AuthorizedCall, body: DriverIn, response: Response) -> DriverOut:
    """Add a driver. Requires the manager role. To let the driver log in, add a user with this `driver_id`."""
    with authorized() as (session, actor):
        driver = drivers.add(session, actor, body.to(NewDriver))
        response.headers["Location"] = f"/drivers/{driver.id}/"
        return DriverOut.model_validate(driver)


@router.get("/{driver_id}/", summary="Read a driver")
def read_driver(authorized: AuthorizedCall, driver_id: PathId) -> DriverOut:
    """Read a driver, also an archived one. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return DriverOut.model_validate(drivers.find(session, actor, driver_id))


@router.patch("/{driver_id}/", summary="Change some of a driver's fields")
def edit_driver(authorized: AuthorizedCall, driver_id: PathId, body: DriverPatch) -> DriverOut:
    """Change a driver. Requires the manager role. Omitted fields stay as they are; null clears."""
    with authorized() as (session, actor):
        driver = drivers.edit(session, actor, driver_id, body.to(DriverChanges))
        return DriverOut.model_validate(driver)


@router.post("/{driver_id}/archive/", summary="Archive a driver", responses=CONFLICT)
def archive_driver(authorized: AuthorizedCall, driver_id: PathId) -> DriverOut:
    """Archive the driver, who keeps their old deliveries; their user is disabled.

    409 while they have an open delivery.
    """
    with authorized() as (session, actor):
        return DriverOut.model_validate(drivers.archive(session, actor, driver_id, now()))


@router.post("/{driver_id}/restore/", summary="Restore an archived driver")
def restore_driver(authorized: AuthorizedCall, driver_id: PathId) -> DriverOut:
    """Restore the driver. Their user stays disabled until a manager enables it."""
    with authorized() as (session, actor):
        return DriverOut.model_validate(drivers.restore(session, actor, driver_id))
