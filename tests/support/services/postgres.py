"""PostgreSQL for tests: what a server can do, and databases cheap enough for one a test."""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

import psycopg2
from psycopg2 import sql

from core.database.schema import migrate

TEMPLATE = "milepost_template"


class PostgresServer(Protocol):
    """The same for the embedded server and for a container; it keeps its port over stop, kill and start."""

    def url(self, database: str) -> str:
        """``postgresql+psycopg2://…`` with user and password."""
        ...

    def start(self) -> None:
        """Returns when it accepts connections."""
        ...

    def stop(self) -> None:
        """A fast shutdown, as an administrator would."""
        ...

    def kill(self) -> None:
        """No word to anyone."""
        ...


class Databases:
    """Copies of one migrated template."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        create_database(server, TEMPLATE)
        migrate(server.url(TEMPLATE))

    @contextmanager
    def fresh(self, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a migrated, empty database, dropped afterwards whoever is still connected.

        Or of a copy of ``template``, which has no connections.
        """
        name = f"test_{next(self._numbers)}"
        try:
            yield self.make(name, template)
        finally:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            _execute(self._server, drop.format(sql.Identifier(name)))

    def make(self, name: str = "milepost", template: str = TEMPLATE) -> str:
        """The URL of a migrated, empty database that stays as long as its server."""
        create_database(self._server, name, template)
        return self._server.url(name)


def create_database(server: PostgresServer, name: str, template: str = "template1") -> None:
    # Copies files, a tenth of the time of writing them all to the log, where no test waits for a disk.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    _execute(server, statement.format(sql.Identifier(name), sql.Identifier(template)))


def _execute(server: PostgresServer, statement: sql.Composable) -> None:
    url = server.url("postgres").replace("postgresql+psycopg2://", "postgresql://")
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
