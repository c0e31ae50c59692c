"""A connection of its own, which waits for NOTIFY."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database.dedicated import Connection, connect, execute, listen, wait_notified
from core.settings import Settings

LONG_S = 30.0


class NotWaitedFor:
    def fileno(self) -> int:
        raise AssertionError("it waits although it has been notified")


@pytest.fixture
def listener(settings: Settings) -> Iterator[Connection]:
    with closing(connect(settings, "tested")) as connection:
        listen(connection, "tested")
        yield connection


def notify(session: Session) -> None:
    session.execute(text("NOTIFY tested"))
    session.commit()


def test_a_notification_ends_the_wait_once(listener: Connection, session: Session) -> None:
    notify(session)
    assert wait_notified(listener, LONG_S)
    assert not wait_notified(listener, 0)


def test_one_that_came_with_a_statement_ends_the_wait(listener: Connection, session: Session) -> None:
    notify(session)
    assert execute(listener, "SELECT 1") == [(1,)]
    assert wait_notified(listener, LONG_S, NotWaitedFor())


def test_input_from_elsewhere_ends_the_wait(listener: Connection, settings: Settings) -> None:
    with closing(connect(settings, "tested")) as other:
        listen(other, "tested")
        execute(listener, "NOTIFY tested")
        wait_notified(listener, LONG_S)  # its own
        assert not wait_notified(listener, LONG_S, other)


def test_waiting_on_a_lost_connection_raises(listener: Connection, session: Session) -> None:
    [(pid,)] = execute(listener, "SELECT pg_backend_pid()")
    assert session.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with pytest.raises(psycopg2.Error):
        wait_notified(listener, LONG_S)
