"""A scratch database for a trial restore: created beside the real one, and dropped afterwards."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from core.database.engine import connect_arguments
from core.database.errors import INSUFFICIENT_PRIVILEGE, sqlstate
from core.errors import Forbidden
from core.operations.backups import catalogue
from core.operations.backups.restore import OPTIONS

PREFIX = "milepost_scratch_"


def url_beside(database_url: str, name: str) -> str:
    """Return the URL of the database ``name`` on the same server, including the password."""
    return make_url(database_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def scratch_database(database_url: str) -> Iterator[str]:
    """Create an empty database on the server of ``database_url``, yield its name, and drop it afterwards.

    Raises `Forbidden` for a database user without CREATEDB.
    """
    name = f"{PREFIX}{secrets.token_hex(4)}"
    with _server(database_url) as server:
        try:
            _execute(server, f'CREATE DATABASE "{name}"')
        except ProgrammingError as error:
            if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
                raise
            raise Forbidden(
                f"The database user {server.url.username} may not make a database: a superuser runs once"
                f' ALTER ROLE "{server.url.username}" CREATEDB.'
            ) from None
        try:
            yield name
        finally:
            _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def count_rows(database_url: str) -> Mapping[str, int]:
    """Return the number of rows per table."""
    with _server(database_url) as server, server.connect() as connection:
        return {
            table: connection.scalar(text(f'SELECT count(*) FROM "{table}"')) or 0  # noqa: S608  # names
            for table in catalogue.tables(connection)
        }


@contextmanager
def _server(database_url: str) -> Iterator[Engine]:
    # No statement timeout, because copying and counting may take long.
    arguments = connect_arguments("restore") | {"options": OPTIONS}
    engine = create_engine(database_url, connect_args=arguments, isolation_level="AUTOCOMMIT", pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _execute(server: Engine, statement: str) -> None:
    with server.connect() as connection:
        connection.execute(text(statement))
