"""The database of `milepost up`: migrated, filled with the demo company, the source of the broker's users."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg2
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from broker.access_control import plugin_file
from core.database.engine import connect_arguments, make_sessions
from core.database.errors import is_connection_lost
from core.database.schema import migrate
from core.models.company import Company
from local import demo
from local.services.postgres import USER, Postgres
from local.supervision.processes import AskedToStop, ServiceFailed
from local.supervision.supervisor import Supervisor

Result = TypeVar("Result")


class LocalDatabase:
    def __init__(self, postgres: Postgres, mqtt_key: str) -> None:
        self._postgres = postgres
        self._mqtt_key = mqtt_key

    def prepare(self, demo_password: str | None) -> None:
        """Migrate the database; create the demo company, whose logins get the password, unless it is None."""
        self._postgres.make_database(USER)
        migrate(self._postgres.url())
        if demo_password is not None:
            with self._sessions() as sessions:
                demo.prepare(sessions, demo_password, self._mqtt_key)

    def write_plugin_file(self, path: Path) -> None:
        with self._sessions() as sessions, sessions() as session:
            plugin_file.write(path, session, self._mqtt_key)

    def operator_login(self) -> tuple[str, str]:
        """Return the demo operator's MQTT user name and secret."""
        with self._sessions() as sessions, sessions() as session:
            return demo.operator_login(session, self._mqtt_key)

    def count_companies(self) -> int:
        with self._sessions() as sessions, sessions() as session:
            return session.scalar(select(func.count()).select_from(Company)) or 0

    @contextmanager
    def _sessions(self) -> Iterator[sessionmaker[Session]]:
        engine = create_engine(self._postgres.url(), connect_args=connect_arguments("up"))
        try:
            yield make_sessions(engine)
        finally:
            engine.dispose()


def run_in_background(work: Callable[[], Result], supervisor: Supervisor, postgres: Postgres) -> Result:
    """Run database work on a thread, so that Ctrl-C works even while the database does not answer.

    The thread ends with PostgreSQL, which stops with us. Raises `ServiceFailed` if PostgreSQL goes away
    before, `AskedToStop` on Ctrl-C.
    """
    thread = ThreadPoolExecutor(1)
    try:
        doing = thread.submit(work)
        if not supervisor.run(doing.done):
            raise AskedToStop
        return doing.result()
    except (DBAPIError, psycopg2.Error) as error:
        if is_connection_lost(error):
            raise ServiceFailed("PostgreSQL", "went away while we used it", postgres.log) from None
        raise
    finally:
        thread.shutdown(wait=False)
