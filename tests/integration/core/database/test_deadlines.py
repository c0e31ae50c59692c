"""A database that takes everything and answers nothing: every wait ends, and all is well once it answers."""

import io
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from core.database import engine as database_engine
from core.database.deadlines import BoundedConnection
from core.database.engine import driver_cursor, make_engine
from tests.support.servers.fronts import Front, plain_front
from tests.support.services.settings import make_settings

LIMIT_S = 1.0


@pytest.fixture
def front(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    monkeypatch.setattr(BoundedConnection, "limit_s", LIMIT_S)
    url = make_url(database_url)
    with plain_front((url.host or "", url.port or 5432)) as front:
        yield front


@pytest.fixture
def engine(front: Front, database_url: str) -> Iterator[Engine]:
    url = make_url(database_url).set(host="127.0.0.1", port=front.port)
    settings = make_settings(url.render_as_string(hide_password=False))
    engine = make_engine(settings, process="test")
    yield engine
    front.thaw()
    engine.dispose()


def test_a_statement_without_an_answer_ends_as_a_lost_connection(engine: Engine, front: Front) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        front.freeze()
        started = time.monotonic()
        with pytest.raises(OperationalError) as lost:
            connection.execute(text("SELECT 2"))
        assert lost.value.connection_invalidated
        assert time.monotonic() - started < LIMIT_S + 5
    front.thaw()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 3")).scalar_one() == 3


def test_a_commit_without_an_answer_ends(engine: Engine, front: Front) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE kept (id int)"))
        front.freeze()
        with pytest.raises(DBAPIError):
            connection.commit()


def test_a_copy_without_an_answer_ends(engine: Engine, front: Front) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE target (id int)"))
        front.freeze()
        with pytest.raises(DBAPIError) as lost:
            _copy(connection)
        assert lost.value.connection_invalidated


def _copy(connection: Connection) -> None:
    with driver_cursor(connection) as cursor:
        cursor.copy_expert("COPY target FROM STDIN", io.StringIO("1\n"))


def test_an_idle_connection_is_asked_before_its_use_and_that_ends_too(
    engine: Engine, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_engine, "IDLE_S", 0.0)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    front.freeze()
    with pytest.raises(OperationalError), engine.connect():
        pass
