"""Shared by the commands: settings, one transaction, input and output."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from core import logs
from core.errors import InvalidValue
from core.rules.text.spelling import composed
from core.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAXIMUM_NAME = 200
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CompanyOption = Annotated[str, typer.Option(help="The company's slug.")]
PasswordOption = Annotated[
    str, typer.Option(envvar="MILEPOST_PASSWORD", show_envvar=True, help="Unset: generated and shown.")
]


def process_settings(process: str) -> Settings:
    """Return the settings of one of our processes, from the environment or `.env`, or exit."""
    settings = load()
    logs.configure(process, settings.log_level, settings.log_format)
    return settings


def admin_settings() -> Settings:
    """Return the settings for an interactive command: unconfigured, those of the local `milepost up`."""
    from local.settings import is_configured_by_hand, settings_of_local_run

    logs.configure("milepost", "WARNING")
    try:
        return load()
    except SettingsError:
        # A command for a production Milepost with one setting forgotten must not reach the demo.
        if is_configured_by_hand() or (local := settings_of_local_run()) is None:
            raise
        return local


@contextmanager
def transaction(settings: Settings) -> "Iterator[Session]":
    """Yield a session in one transaction: committed at the end, rolled back on an error."""
    from core.database.engine import make_engine, make_sessions

    engine = make_engine(settings, process="command", pool_size=1)
    try:
        with database_errors(), make_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


@contextmanager
def database_errors() -> "Iterator[None]":
    """End the command with one line on a database failure; a bug in our SQL still raises."""
    from sqlalchemy.exc import DBAPIError

    from core.database.errors import DatabaseFault, classify

    try:
        yield
    except DBAPIError as error:
        match classify(error):
            case DatabaseFault.NOT_MIGRATED:
                give_up("The database lacks some of our tables: run `milepost migrate`.")
            case DatabaseFault.AWAY | DatabaseFault.TRANSIENT | DatabaseFault.VALUE:
                give_up(f"The database refused: {error.orig}")
        raise


def mqtt_key(settings: Settings) -> str:
    return settings.mqtt_key.get_secret_value()


def chosen_password(given: str) -> tuple[str, str]:
    """Return the password, generated when none was given, and its hash."""
    from core.accounts import passwords

    password = given or secrets.token_urlsafe(12)
    passwords.require_usable(password)
    return password, passwords.hash_password(password)


def person_name(field: str, given: str, email: str) -> str:
    """Return the given name, or the part of the e-mail before the @, which is validated with the e-mail."""
    return printable_name(field, given) if given else composed(email).partition("@")[0][:MAXIMUM_NAME]


def printable_name(field: str, given: str) -> str:
    """Validate a name as the REST API does: one non-empty line. Raises `InvalidValue`."""
    name = composed(given.strip())
    if not name or len(name) > MAXIMUM_NAME or CONTROL.search(name):
        raise InvalidValue(field, f"must have 1 to {MAXIMUM_NAME} characters, all of them printable")
    return name


def print_fields(**fields: object) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {value}")


def give_up(message: str) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    raise typer.Exit(1)
