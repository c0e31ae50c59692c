"""The command line. A command only translates: settings and arguments in, one call, its result out."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from cli import backups, broker, company, customer, database, device, jobs, outbox, status, user
from cli.common import admin_settings, database_errors, process_settings
from core.errors import DomainError
from core.settings import SettingsError

USAGE_ERROR = 2

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would print local variables, secrets among them
)
app.add_typer(company.app, name="company")
app.add_typer(user.app, name="user")
app.add_typer(device.app, name="device")
app.add_typer(customer.app, name="customer")
app.add_typer(broker.app, name="broker")
app.add_typer(database.app, name="database")
app.add_typer(outbox.app, name="outbox")
app.add_typer(jobs.app, name="jobs")
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(status.status)


def main() -> None:
    """Run the command; print an expected error as one message on standard error, never as a stack trace."""
    try:
        _require_text(sys.argv)
        app(prog_name="milepost")
    except SettingsError as error:
        typer.echo(str(error), err=True)
        sys.exit(USAGE_ERROR)
    except DomainError as error:
        fields = [f"{fault['field']} {fault['message']}" for fault in error.facts.get("errors", [])]
        typer.echo(f"{error.title}: {'; '.join(fields) or error.detail}", err=True)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"milepost {version('milepost')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Delivery tracking over MQTT: GPS units in, live deliveries out."""


@app.command()
def up(
    demo: Annotated[bool, typer.Option(help="Run a demo company with users and moving vans.")] = True,
) -> None:
    """Run everything on this machine: PostgreSQL, Mosquitto, ingest, jobs, API and a demo fleet."""
    from local.up import run

    raise typer.Exit(run(with_demo=demo))


@app.command(hidden=True)
def demo() -> None:
    """The demo fleet of `milepost up`."""
    from local.demo import run

    raise typer.Exit(run(process_settings("demo")))


@app.command()
def api() -> None:
    """The web process: REST, WebSockets and the status bridge."""
    from api.main import run

    raise typer.Exit(run(process_settings("api")))


@app.command()
def ingest(
    worker: Annotated[int, typer.Option(min=0, help="This worker's number, from 0.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many workers share the 16 shards.")] = 1,
) -> None:
    """The worker process: MQTT in, PostgreSQL, live positions out."""
    from ingest.main import run

    if worker >= workers:
        raise typer.BadParameter(f"--worker must be below --workers ({workers})")
    raise typer.Exit(run(process_settings("ingest"), worker, workers))


@app.command()
def migrate() -> None:
    """Migrate the database to the newest structure. Safe to run at any time."""
    from core.database.schema import migrate

    settings = process_settings("migrate")
    with database_errors():
        migrate(settings.database_url.get_secret_value())


@app.command()
def simulate(
    vehicles: Annotated[int, typer.Option(min=1, help="How many vehicles drive.")] = 10,
    rate: Annotated[float, typer.Option(min=0.01, help="Fixes per second and vehicle.")] = 1.0,
    company: Annotated[str, typer.Option(help="The slug of the vehicles' company.")] = "demo",
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; unset: until Ctrl-C.")] = None,
) -> None:
    """Simulated GPS units that drive through a city and publish over MQTT 5."""
    from local.simulator.main import run

    settings = admin_settings()
    raise typer.Exit(run(settings, vehicles=vehicles, rate_hz=rate, company=company, duration_s=duration))


def _require_text(arguments: list[str]) -> None:
    """Refuse non-UTF-8 bytes: they arrive as lone surrogates, which PostgreSQL and MQTT cannot carry."""
    for number, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            typer.echo(f"Argument {number} is not UTF-8: {argument!r}", err=True)
            sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
