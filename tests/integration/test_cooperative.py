"""Work on the event loop: it waits without holding up others, and its transactions are whole."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core import cooperative
from core.cooperative import CooperativeConnection
from core.database import make_engine, make_sessions, send_ahead
from tests.services.settings import make_settings

DEADLINE_S = 20
LOCK = "SELECT pg_advisory_xact_lock(7)"
NAME = text("SELECT current_setting('app.name', true)")


@pytest.fixture
def loop_engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(make_settings(database_url), process="test", connections=CooperativeConnection)
    engine.connect().close()
    yield engine
    engine.dispose()


@pytest.fixture
def kept(session: Session) -> Iterator[Callable[[], list[int]]]:
    """What stands, committed, in the table of that name."""
    session.execute(text("CREATE TABLE kept (id int)"))
    session.commit()
    yield lambda: list(session.execute(text("SELECT id FROM kept")).scalars())
    session.rollback()
    session.execute(text("DROP TABLE kept"))
    session.commit()


def test_work_that_waits_lets_other_work_be_done(loop_engine: Engine, session: Session) -> None:
    session.execute(text(LOCK))  # so that the first work must wait

    def work(sql: str) -> object:
        with make_sessions(loop_engine)() as own:
            return own.execute(text(sql)).scalar_one()

    async def both() -> list[object]:
        waiting = asyncio.create_task(cooperative.run(partial(work, f"{LOCK}, 1; SELECT 1")))
        quick = await cooperative.run(partial(work, "SELECT 2"))
        assert not waiting.done()
        session.rollback()
        return [quick, await waiting]

    assert asyncio.run(asyncio.wait_for(both(), DEADLINE_S)) == [2, 1]


def test_what_work_raises_reaches_its_caller(loop_engine: Engine) -> None:
    def work() -> None:
        with loop_engine.connect() as connection:
            connection.execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError, match="division by zero"):
        asyncio.run(cooperative.run(work))
    with loop_engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_lost_connection_is_given_up_and_the_next_work_gets_another(
    loop_engine: Engine, session: Session
) -> None:
    def work() -> object:
        with loop_engine.connect() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            with pytest.raises(OperationalError) as lost:
                connection.execute(text("SELECT 1"))
            assert lost.value.connection_invalidated
        with loop_engine.connect() as connection:
            return connection.execute(text("SELECT 3")).scalar_one()

    assert asyncio.run(cooperative.run(work)) == 3


def test_each_transaction_begins_and_ends(loop_engine: Engine, kept: Callable[[], list[int]]) -> None:
    with loop_engine.connect() as connection:
        connection.execute(text("INSERT INTO kept VALUES (1)"))
        connection.rollback()
        connection.execute(text("INSERT INTO kept VALUES (2)"))
        connection.commit()
        connection.execute(text("INSERT INTO kept VALUES (3)"))
    assert kept() == [2]


def test_what_is_sent_ahead_is_of_the_same_transaction(loop_engine: Engine) -> None:
    with loop_engine.connect() as connection:
        send_ahead(connection, b"SELECT set_config('app.name', '100 %', true)")
        assert connection.execute(NAME).scalar_one() == "100 %"
        connection.commit()
        assert not connection.execute(NAME).scalar_one()


def test_what_is_sent_ahead_commits_and_rolls_back_with_its_transaction(
    loop_engine: Engine, kept: Callable[[], list[int]]
) -> None:
    with loop_engine.connect() as connection:
        send_ahead(connection, b"INSERT INTO kept VALUES (1)")
        connection.rollback()
        send_ahead(connection, b"INSERT INTO kept VALUES (2)")
        connection.commit()
        send_ahead(connection, b"INSERT INTO kept VALUES (3)")
    assert kept() == [2]


def test_what_is_sent_ahead_and_fails_fails_the_commit_and_ends_the_transaction(
    loop_engine: Engine, kept: Callable[[], list[int]]
) -> None:
    with loop_engine.connect() as connection:
        connection.execute(text("INSERT INTO kept VALUES (1)"))
        send_ahead(connection, b"INSERT INTO kept VALUES (1 / 0)")
        with pytest.raises(DBAPIError, match="division by zero"):
            connection.commit()
    with loop_engine.connect() as same:
        assert same.execute(text("SELECT 1")).scalar_one() == 1
    assert kept() == []
