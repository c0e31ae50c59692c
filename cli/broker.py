"""`milepost broker`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    CONTROL,
    admin_settings,
    give_up,
    mqtt_key,
    print_fields,
    process_settings,
    transaction,
)
from core.settings import Settings

if TYPE_CHECKING:
    from broker.mosquitto_conf import Layout

LISTENER = re.compile(r"([0-9]{1,5})( [0-9A-Za-z.:%_-]+)?")
DEBIAN_FOLDER = Path("/etc/mosquitto")
DEBIAN_STATE = Path("/var/lib/mosquitto")

app = typer.Typer(help="Users and roles on the MQTT broker.", no_args_is_help=True)


@app.command("write")
def broker_write(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
    if_damaged: Annotated[
        bool,
        typer.Option(
            "--if-damaged", "--if-absent", help="Keep an existing file that a broker can start with."
        ),
    ] = False,
) -> None:
    """Write the plugin's file from the database, for a broker that does not run yet."""
    from broker.access_control import plugin_file

    settings = admin_settings()
    try:
        if if_damaged and plugin_file.damage(path) is None:
            typer.echo(f"{path} is whole: left as it is")
            return
        with transaction(settings) as session:
            plugin_file.write(path, session, mqtt_key(settings))
    except OSError as error:
        give_up(f"{path} cannot be written: {error.strerror}")
    typer.echo(f"{path} written")


@app.command("config")
def broker_config(
    folder: Annotated[Path, typer.Argument(help="For mosquitto.conf and the ACL file.")] = DEBIAN_FOLDER,
    state: Annotated[
        Path, typer.Option(help="Mosquitto's own folder: sessions, queues, users and roles.")
    ] = DEBIAN_STATE,
    listen: Annotated[str, typer.Option(help="PORT, or 'PORT ADDRESS'.")] = "1883 127.0.0.1",
    plugin: Annotated[
        Path | None, typer.Option(help="mosquitto_dynamic_security.so; unset: searched for.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Rename existing files that differ to *.old.")
    ] = False,
) -> None:
    """Write the files of a self-managed Mosquitto, before it runs; the defaults fit Debian's package."""
    from broker.mosquitto_conf import Layout

    layout = Layout(folder.absolute(), state.absolute(), _plugin(plugin), _listener(listen))
    _require_usable(layout)
    settings = admin_settings()
    try:
        _write_layout(layout, settings, replace=replace)
    except OSError as error:
        give_up(f"{error.filename or folder} cannot be written: {error.strerror}")
    typer.echo(f"next, with the broker stopped before: mosquitto -c {layout.conf_file}")


@app.command("check")
def broker_check(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
) -> None:
    """Report whether a broker can start with the plugin's file; exit code 1 if not."""
    from broker.access_control import plugin_file

    try:
        damage = plugin_file.damage(path)
    except OSError as error:
        give_up(f"{path} cannot be read: {error.strerror}")
    if damage is not None:
        give_up(f"{path} is damaged: {damage}")
    typer.echo(f"{path} is whole")


@app.command("watch")
def broker_watch(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
) -> None:
    """Keep the plugin's file whole beside a broker in a container (`broker/start.sh`), until SIGTERM."""
    from broker.access_control import plugin_watch

    plugin_watch.run(process_settings("broker-users"), path)


@app.command("reconcile")
def broker_reconcile() -> None:
    """Make a running broker's users and roles match the database (the jobs process does it at its start)."""
    from broker.access_control.control import Control, ControlError
    from broker.access_control.provisioning import reconcile
    from broker.connection import login
    from broker.link import BrokerAway
    from core.identities import PROVISIONER_USER

    settings = admin_settings()
    try:
        with Control(login(settings, PROVISIONER_USER)) as control, transaction(settings) as session:
            changes = reconcile(control, session, mqtt_key(settings))
    except (BrokerAway, ControlError) as error:
        give_up(f"The broker at {settings.mqtt_url} refused: {error}")
    print_fields(roles_changed=changes.roles, users_changed=changes.users, removed=changes.removed)


@app.command("login")
def broker_login(
    email: Annotated[str, typer.Argument(help="E-mail address of a manager or operator.")],
) -> None:
    """Show a user's MQTT login."""
    from core.accounts import mqtt_logins, sign_in
    from core.errors import NotFound

    settings = admin_settings()
    with transaction(settings) as session:
        person = sign_in.login_of(session, email)
        if person is None or person.is_disabled:
            raise NotFound("user")
        actor = sign_in.enter(session, person.user_id, person.token_epoch)
        mqtt = mqtt_logins.mqtt_login(session, actor, mqtt_key(settings))
    print_fields(
        broker=settings.broker_url,
        user=mqtt.user_name,
        password=mqtt.secret,
        topics=f"fleet/{mqtt.company}/#",
    )


def _plugin(path: Path | None) -> Path:
    from broker.mosquitto_conf import PLUGIN, find_plugin

    plugin = find_plugin() if path is None else path.absolute()
    if plugin is None or not plugin.is_file():
        give_up(f"{path or PLUGIN} was not found: install Mosquitto 2, or name the plugin with --plugin.")
    return plugin


def _listener(text: str) -> str:
    match = LISTENER.fullmatch(text)
    if match is None or not 0 < int(match[1]) < 65536:
        give_up("--listen must be a port, or a port and an address: 1883, or '1883 127.0.0.1'.")
    return text


def _require_usable(layout: "Layout") -> None:
    for path in (layout.folder, layout.state, layout.plugin):
        if CONTROL.search(str(path)):
            give_up(f"{str(path)!r} has characters that mosquitto.conf cannot hold.")
    for path in (layout.folder, layout.state):
        if not path.is_dir():
            give_up(f"{path} is no folder: create it first; the --state folder must belong to Mosquitto.")


def _write_layout(layout: "Layout", settings: Settings, *, replace: bool) -> None:
    from broker import mosquitto_conf
    from broker.access_control import plugin_file

    files = mosquitto_conf.files(layout)
    for path, text in files.items():
        if path.exists() and path.read_text(errors="replace") != text and not replace:
            give_up(f"{path} is there already, with other content: --replace renames it to {path.name}.old.")
    if replace or plugin_file.damage(layout.plugin_file) is not None:
        with transaction(settings) as session:
            plugin_file.write(layout.plugin_file, session, mqtt_key(settings))
        typer.echo(f"{layout.plugin_file} written: users and roles")
    else:
        typer.echo(f"{layout.plugin_file} is whole: left as it is")
    owner = layout.state.stat()
    for path, text in files.items():
        put_aside = mosquitto_conf.put(path, text, owner)
        typer.echo(f"{path} written" + (f"; the one before is {put_aside}" if put_aside else ""))
