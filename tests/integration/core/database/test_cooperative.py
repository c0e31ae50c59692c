"""Work on the event loop: it waits without holding up others, and its transactions are whole."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from sqlalchemy import Engine, event, make_url, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.database import cooperative, host_names, row_security
from core.database.cooperative import CooperativeConnection
from core.database.engine import driver_cursor, make_engine, make_sessions, send_ahead
from core.database.prepared import Named
from core.models.fleet import Vehicle
from tests.support import factories
from tests.support.services.settings import make_settings

DEADLINE_S = 20
SLOW_NAME = "database.test"
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


def test_pipelined_statements_end_with_their_transaction(
    loop_engine: Engine, kept: Callable[[], list[int]]
) -> None:
    with loop_engine.connect() as connection:
        send_ahead(connection, b"INSERT INTO kept VALUES (1)")
        connection.rollback()
        send_ahead(connection, b"INSERT INTO kept VALUES (2)")
        connection.commit()
        send_ahead(connection, b"INSERT INTO kept VALUES (3)")
    assert kept() == [2]


def test_a_failed_pipelined_statement_fails_the_commit(
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


def test_what_cannot_be_sent_takes_nothing_with_it_that_goes_ahead(loop_engine: Engine) -> None:
    """The fence between companies goes ahead: whoever went on after such an error would be outside."""
    with loop_engine.connect() as connection:
        send_ahead(connection, b"SELECT set_config('app.name', 'fenced', true)")
        for value in ("\0", "\ud800", object()):
            with pytest.raises((ValueError, DBAPIError)):
                connection.execute(text("SELECT :value"), {"value": value})
        assert connection.execute(NAME).scalar_one() == "fenced"


def test_a_statement_prepared_as_owner_obeys_policies_later(loop_engine: Engine, session: Session) -> None:
    """One connection serves log-in, as the owner, and every company in turn."""
    companies = [factories.company(session) for _ in range(2)]
    vehicles = [factories.vehicle(session, company) for company in companies]
    session.commit()
    every = Named("every_vehicle", "SELECT id FROM vehicle WHERE id <> %s ORDER BY id")

    def seen_in(company_id: int | None) -> list[int]:
        with make_sessions(loop_engine)() as own:
            if company_id is not None:
                row_security.enter(own, company_id)
            with driver_cursor(own.connection()) as cursor:
                every.execute(cursor, (0,))
                return [row[0] for row in cursor.fetchall()]

    both = [vehicle.id for vehicle in vehicles]
    for _ in range(2):
        assert [seen_in(company.id) for company in companies] == [[both[0]], [both[1]]]
        assert seen_in(None) == both


def test_several_rows_are_changed_at_once(loop_engine: Engine, session: Session) -> None:
    company = factories.company(session)
    vehicles = [factories.vehicle(session, company) for _ in range(3)]
    session.commit()
    with make_sessions(loop_engine)() as own:
        for vehicle in own.scalars(select(Vehicle)):
            vehicle.name = f"new {vehicle.id}"
        own.commit()
    session.expire_all()
    assert [vehicle.name for vehicle in vehicles] == [f"new {vehicle.id}" for vehicle in vehicles]


def test_a_percent_sign_is_one_in_any_statement(loop_engine: Engine) -> None:
    with loop_engine.connect() as connection:
        for _first_and_later in range(2):
            assert connection.execute(text("SELECT 7 % 4, 'a%b'")).one() == (3, "a%b")


def _engine_at(database_url: str, host: str) -> Engine:
    url = make_url(database_url).set(host=host).render_as_string(hide_password=False)
    return make_engine(make_settings(url), process="test", connections=CooperativeConnection)


def test_looking_up_the_database_holds_nothing_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq would wait for the name server with the loop, and with every thread of the process."""
    engine = _engine_at(database_url, SLOW_NAME)

    def work() -> object:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1")).scalar_one()

    async def both() -> object:
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def find(_loop: object, host: str, _port: str) -> list[str]:
            assert host == SLOW_NAME
            asked.set()
            await may_answer.wait()
            return ["127.0.0.1"]

        monkeypatch.setattr(host_names, "find_addresses", find)
        waiting = asyncio.create_task(cooperative.run(work))
        await asked.wait()
        may_answer.set()
        return await waiting

    assert asyncio.run(asyncio.wait_for(both(), DEADLINE_S)) == 1
    engine.dispose()


def test_a_database_of_no_known_name_is_away(database_url: str) -> None:
    engine = _engine_at(database_url, "nowhere.invalid")
    for connect in (engine.connect, lambda: asyncio.run(cooperative.run(engine.connect))):
        with pytest.raises(OperationalError, match=r"could not look up nowhere\.invalid"):
            connect()


def test_statements_prepared_before_an_alter_table_are_discarded(
    loop_engine: Engine, session: Session
) -> None:
    """Else a connection would refuse them for as long as it lives."""
    session.execute(text("CREATE TABLE altered AS SELECT 1 AS id"))
    session.commit()
    altered = Named("altered", "SELECT id FROM altered WHERE %s")

    def ids() -> list[tuple[object, ...]]:
        with loop_engine.connect() as connection, driver_cursor(connection) as cursor:
            altered.execute(cursor, (True,))
            rows: list[tuple[object, ...]] = cursor.fetchall()
            return rows

    assert ids() == [(1,)]
    session.execute(text("ALTER TABLE altered ALTER COLUMN id TYPE text"))
    session.commit()
    with pytest.raises(DBAPIError, match="cached plan must not change result type"):
        ids()
    assert ids() == [("1",)]
    session.execute(text("DROP TABLE altered"))
    session.commit()


def test_a_new_connection_that_is_lost_at_once_is_a_lost_connection(database_url: str) -> None:
    """As while the server shuts down: an error that everybody knows, and no third attempt."""
    engine = make_engine(make_settings(database_url), process="test", connections=CooperativeConnection)

    @event.listens_for(engine, "connect")
    def lose(connection: CooperativeConnection, _record: object) -> None:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    with pytest.raises(OperationalError):
        engine.connect()
    engine.dispose()


def test_work_whose_socket_cannot_be_watched_ends_as_a_lost_connection(
    loop_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so gives back what it holds."""
    ended: list[str] = []

    def work() -> object:
        try:
            with make_sessions(loop_engine)() as own:
                own.execute(text("SELECT pg_sleep(0.05)"))  # each is waited for
                return own.execute(text("SELECT 1, pg_sleep(0.05)")).one()[0]
        finally:
            ended.append("work")

    async def twice() -> object:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", _refuse_after(loop.add_reader, 1))
            with pytest.raises(OperationalError, match="cannot be waited for"):
                await asyncio.wait_for(cooperative.run(work), DEADLINE_S)
        assert ended == ["work"]
        return await cooperative.run(work)

    assert asyncio.run(twice()) == 1


def _refuse_after(add: Callable[..., None], count: int) -> Callable[..., None]:
    calls = iter(range(count))

    def add_reader(*arguments: object) -> None:
        if next(calls, None) is None:
            raise OSError("no room for another socket")
        add(*arguments)

    return add_reader
