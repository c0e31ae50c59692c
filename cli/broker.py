"""`milepost broker`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import admin_settings, give_up, mqtt_key, print_fields, process_settings, transaction

app = typer.Typer(help="Users and roles on the MQTT broker.", no_args_is_help=True)


@app.command("write")
def broker_write(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
    if_damaged: Annotated[
        bool, typer.Option("--if-damaged", "--if-absent", help="Leave a file that a broker can start with.")
    ] = False,
) -> None:
    """Write the plugin's file from the database, for a broker that does not run yet."""
    from broker import plugin_file

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


@app.command("check")
def broker_check(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
) -> None:
    """Say whether a broker can start with the plugin's file; exit code 1 if not."""
    from broker import plugin_file

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
    from broker import plugin_watch

    plugin_watch.run(process_settings("broker-users"), path)


@app.command("reconcile")
def broker_reconcile() -> None:
    """Make a running broker's users and roles match the database (the jobs process does it at its start)."""
    from broker.connection import login
    from broker.control import Control, ControlError
    from broker.link import BrokerAway
    from broker.provisioning import reconcile
    from core.identities import PROVISIONER_USER

    settings = admin_settings()
    try:
        with Control(login(settings, PROVISIONER_USER)) as control, transaction(settings) as session:
            changes = reconcile(control, session, mqtt_key(settings))
    except (BrokerAway, ControlError) as error:
        give_up(f"The broker at {settings.mqtt_url} did not do it: {error}")
    print_fields(roles_changed=changes.roles, users_changed=changes.users, removed=changes.removed)


@app.command("login")
def broker_login(email: Annotated[str, typer.Argument(help="A manager's or operator's.")]) -> None:
    """Show a person's own MQTT login."""
    from core import users
    from core.errors import NotFound

    settings = admin_settings()
    with transaction(settings) as session:
        person = users.login_of(session, email)
        if person is None or person.is_disabled:
            raise NotFound("user")
        actor = users.actor_of(session, person.user_id, person.token_epoch)
        mqtt = users.mqtt_login(session, actor, mqtt_key(settings))
    print_fields(
        broker=settings.mqtt_url, user=mqtt.user_name, password=mqtt.secret, topics=f"fleet/{mqtt.company}/#"
    )
