"""`milepost device`."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import CompanyOption, admin_settings, mqtt_key, print_fields, printable_name, transaction
from core.settings import Settings

if TYPE_CHECKING:
    from core.fleet.devices import Credentials
    from core.models.fleet import Device

DeviceArgument = Annotated[str, typer.Argument(help="The device's id.")]

UNBOUND = (
    "It is bound to no vehicle and to no driver. Until a manager binds it (PATCH /devices/{device}/), its"
    " fixes are rejected (no_vehicle) and kept in the quarantine. --vehicle or --driver binds it at once."
)

app = typer.Typer(help="GPS units and drivers' phones.", no_args_is_help=True)


@app.command("add")
def device_add(
    label: Annotated[str, typer.Argument(help="The company's name for the device.")],
    company: CompanyOption,
    vehicle: Annotated[int | None, typer.Option(help="The id of the vehicle that carries it.")] = None,
    driver: Annotated[int | None, typer.Option(help="The id of the driver who owns the phone.")] = None,
) -> None:
    """Create a device and show its MQTT credentials."""
    from core.access import system_actors
    from core.fleet import devices
    from core.fleet.devices import NewDevice

    label = printable_name("label", label)
    settings = admin_settings()
    with transaction(settings) as session:
        actor = system_actors.system_actor(session, company)
        device = devices.add(session, actor, NewDevice(label=label, vehicle_id=vehicle, driver_id=driver))
        credentials = devices.credentials(session, actor, device.id, mqtt_key(settings))
    _print_credentials(settings, credentials)
    if vehicle is None and driver is None:
        typer.echo(UNBOUND.format(device=credentials.device_id))


@app.command("list")
def device_list(company: CompanyOption) -> None:
    """List a company's devices."""
    from core.access import system_actors
    from core.fleet import devices

    with transaction(admin_settings()) as session:
        actor = system_actors.system_actor(session, company)
        after = None
        while page := devices.page(session, actor, after=after, limit=500):
            after = page[-1].id
            for device in page:
                typer.echo(f"{device.id}  {_binding(device):<14}  {device.label}")


@app.command("credentials")
def device_credentials(
    device_id: DeviceArgument,
    company: CompanyOption,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Rotate the secret; the old one stops working.")
    ] = False,
) -> None:
    """Show a device's MQTT credentials."""
    from core.access import system_actors
    from core.fleet import devices

    settings = admin_settings()
    find = devices.rotate if rotate else devices.credentials
    with transaction(settings) as session:
        actor = system_actors.system_actor(session, company)
        credentials = find(session, actor, device_id, mqtt_key(settings))
    _print_credentials(settings, credentials)


@app.command("disable")
def device_disable(device_id: DeviceArgument, company: CompanyOption) -> None:
    """Disable a device; the broker ends its connection."""
    from core.access import system_actors
    from core.fleet import devices

    with transaction(admin_settings()) as session:
        devices.disable(session, system_actors.system_actor(session, company), device_id, datetime.now(UTC))
    typer.echo(f"{device_id} is disabled")


def _binding(device: "Device") -> str:
    if device.disabled_at is not None:
        return "disabled"
    if device.vehicle_id is not None:
        return f"vehicle {device.vehicle_id}"
    return "unbound" if device.driver_id is None else f"driver {device.driver_id}"


def _print_credentials(settings: Settings, credentials: "Credentials") -> None:
    from broker import topics

    device = credentials.device_id
    print_fields(
        broker=settings.broker_url,
        user=device,
        password=credentials.secret,
        publish_to=topics.up(credentials.shard, device, "location"),
        answers_on=topics.reply(device),
    )
