"""The command line. A verb only translates: settings and arguments in, one call, its result out."""

import enum
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from core import logs
from core.errors import DomainError, InvalidValue
from core.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from core.devices import Credentials
    from core.models import Device

USAGE_ERROR = 2
MAXIMUM_NAME = 200
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
UNDEFINED_TABLE = "42P01"


class Role(enum.StrEnum):
    """As in `core.models`, which would have to load SQLAlchemy for every ``--help``."""

    DRIVER = "driver"
    CUSTOMER = "customer"
    MANAGER = "manager"
    OPERATOR = "operator"


CompanyOption = Annotated[str, typer.Option(help="The company's slug.")]
DeviceArgument = Annotated[str, typer.Argument(help="The device's id.")]
PasswordOption = Annotated[
    str, typer.Option(envvar="MILEPOST_PASSWORD", show_envvar=True, help="Unset: made up and shown.")
]

app = typer.Typer(
    help="Delivery tracking over MQTT: GPS units in, live deliveries out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would print local variables, secrets among them
)
company_app = typer.Typer(help="Companies.", no_args_is_help=True)
user_app = typer.Typer(help="People who log in.", no_args_is_help=True)
device_app = typer.Typer(help="GPS units and drivers' phones.", no_args_is_help=True)
broker_app = typer.Typer(help="Users and roles on the MQTT broker.", no_args_is_help=True)
customer_app = typer.Typer(help="Customers.", no_args_is_help=True)
app.add_typer(company_app, name="company")
app.add_typer(user_app, name="user")
app.add_typer(device_app, name="device")
app.add_typer(broker_app, name="broker")
app.add_typer(customer_app, name="customer")
jobs_app = typer.Typer(invoke_without_command=True)
app.add_typer(jobs_app, name="jobs")


def main() -> None:
    """What is expected to go wrong is one message on standard error, never a stack trace."""
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


@app.command()
def up(
    demo: Annotated[bool, typer.Option(help="With a company, people and vans that drive.")] = True,
) -> None:
    """Run everything on this machine: PostgreSQL, Mosquitto, ingest, jobs, API and a demo fleet."""
    from local.up import run

    raise typer.Exit(run(with_demo=demo))


@app.command(hidden=True)
def demo() -> None:
    """The demo fleet of `milepost up`."""
    from local.demo import run

    raise typer.Exit(run(_process_settings("demo")))


@app.command()
def api() -> None:
    """The web process: REST, WebSockets and the status bridge."""
    from api.main import run

    raise typer.Exit(run(_process_settings("api")))


@app.command()
def ingest(
    worker: Annotated[int, typer.Option(min=0, help="This worker's number, from 0.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many workers share the 16 shards.")] = 1,
) -> None:
    """The worker process: MQTT in, PostgreSQL, live positions out."""
    from ingest.main import run

    if worker >= workers:
        raise typer.BadParameter(f"--worker must be below --workers ({workers})")
    raise typer.Exit(run(_process_settings("ingest"), worker, workers))


@jobs_app.callback()
def jobs(context: typer.Context) -> None:
    """The background process: the outbox relay and scheduled jobs. Several may run: one works."""
    from jobs.main import run

    if context.invoked_subcommand is None:
        raise typer.Exit(run(_process_settings("jobs")))


@jobs_app.command("list")
def jobs_list(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: instants instead of spans.")] = False,
) -> None:
    """Show each job: how often, its last run and what came of it, its next run."""
    from jobs import listing

    with _session(_admin_settings()) as session:
        found = listing.read(session)
    typer.echo(listing.as_json(found) if as_json else listing.as_text(found, datetime.now(UTC)))


@jobs_app.command("run")
def jobs_run(name: Annotated[str, typer.Argument(help="As `milepost jobs list` shows it.")]) -> None:
    """Run a job now, beside the leader if there is one. A failure is shown and gives exit code 1."""
    from jobs import by_hand

    outcome = by_hand.run(_admin_settings(), name)
    if outcome.error is not None:
        _give_up(f"{name} failed: {outcome.error}")
    typer.echo(f"{name} done: {outcome.result or 'nothing to do'}")


@app.command()
def migrate() -> None:
    """Bring the database to the newest structure. Safe to run at any time."""
    from core.schema import migrate

    settings = _process_settings("migrate")
    with _database_errors():
        migrate(settings.database_url.get_secret_value())


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(help="A new file, or a folder for one named by the time.")],
    broker_state: Annotated[
        Path | None, typer.Option(help="Mosquitto's mosquitto.db: what devices sent and ingest has not read.")
    ] = None,
) -> None:
    """Write everything into one file, while all goes on. The two keys are not in it: keep them apart."""
    from core.backups import take

    settings, now = _admin_settings(), datetime.now(UTC)
    file = path / f"milepost-{now:%Y%m%dT%H%M%SZ}.zip" if path.is_dir() else path
    url = settings.database_url.get_secret_value()
    with _database_errors(), _file_errors():
        manifest = take.take(file, url, _key_marks(settings), broker_state, now)
    size = sum(member.size for member in manifest.members.values())
    typer.echo(f"{file} written: {file.stat().st_size} bytes, {size} before compression")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `milepost backup` wrote.")],
    broker_state: Annotated[
        Path | None, typer.Option(help="Where the broker, stopped, shall find its mosquitto.db.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what is there, for good.")] = False,
    other_keys: Annotated[
        bool, typer.Option("--other-keys", help="Go on with other keys: every device needs a new password.")
    ] = False,
) -> None:
    """Bring a backup into an empty database; ingest, jobs and API must not run."""
    from core.backups import restore as restoring

    settings = _process_settings("restore")
    wanted = restoring.Wanted(
        keys=_key_marks(settings), broker_state=broker_state, replace=replace, other_keys=other_keys
    )
    with _database_errors(), _file_errors():
        done = restoring.restore(file, settings.database_url.get_secret_value(), wanted, datetime.now(UTC))
    typer.echo(f"restored as it was at {done.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC")
    for said, names in (("erased again", done.erased_again), ("STILL TO BE ERASED", done.not_erased)):
        if names:
            typer.echo(f"{said}: {', '.join(names)}")
    typer.echo("next: `milepost broker write` for a new broker, then start everything")


@app.command()
def simulate(
    vehicles: Annotated[int, typer.Option(min=1, help="How many vehicles drive.")] = 10,
    rate: Annotated[float, typer.Option(min=0.01, help="Fixes a second of each vehicle.")] = 1.0,
    company: Annotated[str, typer.Option(help="The slug of the company whose vehicles they are.")] = "demo",
    duration: Annotated[float | None, typer.Option(min=1, help="Seconds; unset: until Ctrl-C.")] = None,
) -> None:
    """Simulated GPS units that drive through a city and publish over MQTT 5."""
    from local.simulator.main import run

    settings = _admin_settings()
    raise typer.Exit(run(settings, vehicles=vehicles, rate_hz=rate, company=company, duration_s=duration))


@company_app.command("add")
def company_add(
    slug: Annotated[str, typer.Argument(help="Its name in topics, for ever: a-z, 0-9 and -.")],
    manager_email: Annotated[str, typer.Option(help="The first manager, who logs in with it.")],
    name: Annotated[str, typer.Option(help="As people write it; unset: the slug.")] = "",
    manager_name: Annotated[str, typer.Option(help="Unset: the part before the @.")] = "",
    time_zone: Annotated[str, typer.Option(help="Of its days and windows, as in Europe/Berlin.")] = "UTC",
    password: PasswordOption = "",
) -> None:
    """Make a company with its first manager."""
    from core import companies

    name = _name("name", name) if name else slug
    manager_name = _person_name("manager_name", manager_name, manager_email)
    chosen, password_hash = _password(password)
    with _session(_admin_settings()) as session:
        company = companies.add(session, slug, name, time_zone, manager_email, manager_name, password_hash)
    _print_fields(company=company.slug, manager=manager_email, password=chosen)


@user_app.command("add")
def user_add(
    email: Annotated[str, typer.Argument(help="With which the person logs in.")],
    company: CompanyOption,
    role: Annotated[Role, typer.Option(help="What the person may do.")],
    name: Annotated[str, typer.Option(help="Unset: the part before the @.")] = "",
    driver: Annotated[int | None, typer.Option(help="For a driver: its id.")] = None,
    customer: Annotated[int | None, typer.Option(help="For a customer: its id.")] = None,
    password: PasswordOption = "",
) -> None:
    """Make a person who logs in."""
    from core import companies, models, users

    name = _person_name("name", name, email)
    chosen, password_hash = _password(password)
    with _session(_admin_settings()) as session:
        user = users.add(
            session,
            companies.system_actor(session, company),
            email=email,
            name=name,
            role=models.Role(role.value),
            password_hash=password_hash,
            driver_id=driver,
            customer_id=customer,
        )
    _print_fields(id=user.id, email=user.email, role=user.role, password=chosen)


@device_app.command("add")
def device_add(
    label: Annotated[str, typer.Argument(help="The company's own name for it.")],
    company: CompanyOption,
    vehicle: Annotated[int | None, typer.Option(help="The id of the vehicle it sits in.")] = None,
    driver: Annotated[int | None, typer.Option(help="The id of the driver whose phone it is.")] = None,
) -> None:
    """Make a device, and show what to type into it."""
    from core import companies, devices

    label = _name("label", label)
    settings = _admin_settings()
    with _session(settings) as session:
        actor = companies.system_actor(session, company)
        device = devices.add(session, actor, label=label, vehicle_id=vehicle, driver_id=driver)
        credentials = devices.credentials(session, actor, device.id, _mqtt_key(settings))
    _print_credentials(settings, credentials)


@device_app.command("list")
def device_list(company: CompanyOption) -> None:
    """List a company's devices."""
    from core import companies, devices

    with _session(_admin_settings()) as session:
        actor = companies.system_actor(session, company)
        after = None
        while page := devices.page(session, actor, after=after, limit=500):
            after = page[-1].id
            for device in page:
                typer.echo(f"{device.id}  {_binding(device):<14}  {device.label}")


@device_app.command("credentials")
def device_credentials(
    device_id: DeviceArgument,
    company: CompanyOption,
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new secret; the old one ends.")] = False,
) -> None:
    """Show what to type into a device."""
    from core import companies, devices

    settings = _admin_settings()
    find = devices.rotate if rotate else devices.credentials
    with _session(settings) as session:
        actor = companies.system_actor(session, company)
        credentials = find(session, actor, device_id, _mqtt_key(settings))
    _print_credentials(settings, credentials)


@device_app.command("disable")
def device_disable(device_id: DeviceArgument, company: CompanyOption) -> None:
    """Lock a device out; the broker ends its connection."""
    from core import companies, devices

    with _session(_admin_settings()) as session:
        devices.disable(session, companies.system_actor(session, company), device_id, datetime.now(UTC))
    typer.echo(f"{device_id} is disabled")


@customer_app.command("erase")
def customer_erase(
    customer_id: Annotated[int, typer.Argument(min=1, help="The customer's id.")],
    company: CompanyOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a customer's personal data, for good; its deliveries stay as numbers."""
    from core import companies, erasure

    if not yes:
        typer.confirm(f"Erase customer {customer_id} of {company}? There is no way back", abort=True)
    with _session(_admin_settings()) as session:
        actor = companies.system_actor(session, company)
        erasure.erase(session, actor, customer_id, datetime.now(UTC))
    typer.echo(f"customer {customer_id} is erased; backups made before still hold its data")


@broker_app.command("write")
def broker_write(
    path: Annotated[Path, typer.Option(help="The dynamic-security plugin's file.")],
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Leave a file that is there.")] = False,
) -> None:
    """Write the plugin's file from the database, for a broker that does not run yet."""
    from broker import plugin_file

    settings = _admin_settings()
    try:
        if if_absent and path.exists():
            typer.echo(f"{path} is there already: left as it is")
            return
        with _session(settings) as session:
            plugin_file.write(path, session, _mqtt_key(settings))
    except OSError as error:
        _give_up(f"{path} cannot be written: {error.strerror}")
    typer.echo(f"{path} written")


@broker_app.command("reconcile")
def broker_reconcile() -> None:
    """Make a running broker's users and roles match the database (the jobs process does it at its start)."""
    from broker.connection import login
    from broker.control import Control, ControlError
    from broker.link import BrokerAway
    from broker.provisioning import reconcile
    from core.identities import PROVISIONER_USER

    settings = _admin_settings()
    try:
        with Control(login(settings, PROVISIONER_USER)) as control, _session(settings) as session:
            changes = reconcile(control, session, _mqtt_key(settings))
    except (BrokerAway, ControlError) as error:
        _give_up(f"The broker at {settings.mqtt_url} did not do it: {error}")
    _print_fields(roles_changed=changes.roles, users_changed=changes.users, removed=changes.removed)


@broker_app.command("login")
def broker_login(email: Annotated[str, typer.Argument(help="A manager's or operator's.")]) -> None:
    """Show a person's own MQTT login."""
    from core import users
    from core.errors import NotFound

    settings = _admin_settings()
    with _session(settings) as session:
        person = users.login_of(session, email)
        if person is None or person.is_disabled:
            raise NotFound("user")
        actor = users.actor_of(session, person.user_id, person.token_epoch)
        mqtt = users.mqtt_login(session, actor, _mqtt_key(settings))
    _print_fields(
        broker=settings.mqtt_url, user=mqtt.user_name, password=mqtt.secret, topics=f"fleet/{mqtt.company}/#"
    )


def _process_settings(process: str) -> Settings:
    """For one of our processes: from the environment or `.env`, or not at all."""
    settings = load()
    logs.configure(process, settings.log_level, settings.log_format)
    return settings


def _admin_settings() -> Settings:
    """For a command given by hand: when nothing is configured, those of the `milepost up` that runs here."""
    from local.settings import is_configured_by_hand, settings_of_local_run

    logs.configure("milepost", "WARNING")
    try:
        return load()
    except SettingsError:
        # What was meant for a real Milepost, with one setting forgotten, must not reach the demo.
        if is_configured_by_hand() or (local := settings_of_local_run()) is None:
            raise
        return local


@contextmanager
def _session(settings: Settings) -> "Iterator[Session]":
    """One transaction: committed at the end, rolled back by an error."""
    from core.database import make_engine, make_sessions

    engine = make_engine(settings, process="command", pool_size=1)
    try:
        with _database_errors(), make_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


@contextmanager
def _database_errors() -> "Iterator[None]":
    """What the database refuses as a whole ends the command with one line; a bug in our SQL does not."""
    from sqlalchemy.exc import DataError, OperationalError, ProgrammingError

    from core.database import sqlstate

    try:
        yield
    except (OperationalError, DataError) as error:
        _give_up(f"The database did not do it: {error.orig}")
    except ProgrammingError as error:
        if sqlstate(error) != UNDEFINED_TABLE:
            raise
        _give_up("The database has not all of our tables: `milepost migrate` makes them.")


@contextmanager
def _file_errors() -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        _give_up(f"{error.filename or 'The file'} cannot be used: {error.strerror or error}")


def _key_marks(settings: Settings) -> dict[str, str]:
    from core.backups.archive import key_mark

    keys = {"MILEPOST_MQTT_KEY": settings.mqtt_key, "MILEPOST_JWT_KEY": settings.jwt_key}
    return {name: key_mark(key.get_secret_value()) for name, key in keys.items()}


def _mqtt_key(settings: Settings) -> str:
    return settings.mqtt_key.get_secret_value()


def _password(given: str) -> tuple[str, str]:
    """The password, made up when none was given, and its hash."""
    from core import passwords

    password = given or secrets.token_urlsafe(12)
    passwords.require_usable(password)
    return password, passwords.hash_password(password)


def _person_name(field: str, given: str, email: str) -> str:
    """Unset: the part of the e-mail before the @, whose own rules are checked with it."""
    return _name(field, given) if given else email.partition("@")[0][:MAXIMUM_NAME]


def _name(field: str, given: str) -> str:
    """As over REST: one line with something in it. Raises `InvalidValue`."""
    name = given.strip()
    if not name or len(name) > MAXIMUM_NAME or CONTROL.search(name):
        raise InvalidValue(field, f"must have 1 to {MAXIMUM_NAME} characters, all of them printable")
    return name


def _require_text(arguments: list[str]) -> None:
    """Bytes that are no UTF-8 arrive as lone surrogates, which neither PostgreSQL nor MQTT can carry."""
    for number, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            typer.echo(f"Argument {number} is not UTF-8: {argument!r}", err=True)
            sys.exit(USAGE_ERROR)


def _binding(device: "Device") -> str:
    if device.disabled_at is not None:
        return "disabled"
    if device.vehicle_id is not None:
        return f"vehicle {device.vehicle_id}"
    return "unbound" if device.driver_id is None else f"driver {device.driver_id}"


def _print_credentials(settings: Settings, credentials: "Credentials") -> None:
    from broker import topics

    device = credentials.device_id
    _print_fields(
        broker=settings.mqtt_url,
        user=device,
        password=credentials.secret,
        publish_to=topics.up(credentials.shard, device, "location"),
        answers_on=topics.reply(device),
    )


def _print_fields(**fields: object) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {value}")


def _give_up(message: str) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
