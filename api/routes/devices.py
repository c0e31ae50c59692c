"""GPS units and drivers' phones over REST."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.dependencies import Authorized, AuthorizedCall, SettingsOf, now
from api.http import cursors
from api.http.idempotency import forbid_keeping
from api.http.route import ApiRoute
from api.schemas.devices import CredentialsOut, DeviceIn, DeviceOut, DevicePatch, DeviceQuery
from api.schemas.fields import PathDevice
from api.schemas.pages import Page
from core.access.actors import Actor
from core.fleet import devices
from core.fleet.devices import DeviceChanges, NewDevice
from core.settings import Settings

router = APIRouter(prefix="/devices", tags=["fleet"], route_class=ApiRoute)


@router.get("/", summary="List devices")
def list_devices(authorized: AuthorizedCall, query: Annotated[DeviceQuery, Query()]) -> Page[DeviceOut]:
    """List devices. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = devices.page(
            session,
            actor,
            after=cursors.text_key(query.cursor),
            limit=query.limit + 1,
            vehicle_id=query.vehicle_id,
            driver_id=query.driver_id,
        )
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[DeviceOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a device", status_code=201)
def add_device(authorized: AuthorizedCall, body: DeviceIn, response: Response) -> DeviceOut:
    """Add a device; the API chooses its id. Ask for its credentials next."""
    with authorized() as (session, actor):
        device = devices.add(session, actor, body.to(NewDevice))
        response.headers["Location"] = f"/devices/{device.id}/"
        return DeviceOut.model_validate(device)


@router.get("/{device_id}/", summary="Read a device")
def read_device(authorized: AuthorizedCall, device_id: PathDevice) -> DeviceOut:
    """Read a device. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return DeviceOut.model_validate(devices.find(session, actor, device_id))


@router.patch("/{device_id}/", summary="Rename or bind a device")
def edit_device(authorized: AuthorizedCall, device_id: PathDevice, body: DevicePatch) -> DeviceOut:
    """Rename or bind a device. Requires the manager role.

    A device is bound to one vehicle or to one driver; null unbinds it.
    """
    with authorized() as (session, actor):
        return DeviceOut.model_validate(devices.edit(session, actor, device_id, body.to(DeviceChanges)))


@router.post("/{device_id}/credentials/", summary="Show a device's MQTT credentials")
def show_credentials(
    authorized: AuthorizedCall, settings: SettingsOf, device_id: PathDevice, response: Response
) -> CredentialsOut:
    """Show the device's MQTT credentials. Requires the manager role.

    A POST, so that no cache or history keeps the secret.
    """
    return _credentials(devices.credentials, authorized, settings, device_id, response)


@router.post("/{device_id}/rotate/", summary="Rotate a device's secret")
def rotate_secret(
    authorized: AuthorizedCall, settings: SettingsOf, device_id: PathDevice, response: Response
) -> CredentialsOut:
    """Give the device a new secret; the old one is refused within moments."""
    return _credentials(devices.rotate, authorized, settings, device_id, response)


def _credentials(
    find: Callable[[Session, Actor, str, str], devices.Credentials],
    authorized: Authorized,
    settings: Settings,
    device_id: str,
    response: Response,
) -> CredentialsOut:
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        return CredentialsOut.of(find(session, actor, device_id, key), settings.broker_url)


@router.post("/{device_id}/disable/", summary="Disable a device")
def disable_device(authorized: AuthorizedCall, device_id: PathDevice) -> DeviceOut:
    """Disable the device: its connection ends, and later messages from it go to the quarantine."""
    with authorized() as (session, actor):
        return DeviceOut.model_validate(devices.disable(session, actor, device_id, now()))


@router.post("/{device_id}/enable/", summary="Enable a device")
def enable_device(authorized: AuthorizedCall, device_id: PathDevice) -> DeviceOut:
    """Enable the device; it may connect again within moments. Requires the manager role."""
    with authorized() as (session, actor):
        return DeviceOut.model_validate(devices.enable(session, actor, device_id))
