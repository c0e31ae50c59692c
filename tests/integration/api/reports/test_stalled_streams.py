"""Readers of tracks that take nothing: their slots come back, and other companies have theirs."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import httpx
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.content import streams
from core.database import engine as database_engine
from core.database.engine import make_engine, make_sessions
from core.rules.enums import Status
from core.settings import Settings
from tests.integration.api.reports.test_history import START, fill, held, idle_again, track_path
from tests.support.api_client import assert_problem, bearer, furnish
from tests.support.servers.live_server import LiveServer
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

FIXES = 100_000  # some MB: more than the buffers between server and reader hold


class TrackRequest(NamedTuple):
    path: str
    headers: dict[str, str]


def long_track(session: Session, settings: Settings) -> TrackRequest:
    """Some MB of a company of its own, and its manager's token."""
    house = furnish(session, Status.IN_TRANSIT)
    house.delivery.started_at = START
    session.commit()
    fill(session, house.vehicle.id, FIXES)
    return TrackRequest(track_path(house), bearer(settings, house.manager))


@pytest.fixture
def server(settings: Settings) -> Iterator[LiveServer]:
    server = LiveServer(settings)
    server.start()
    yield server
    server.stop()


@contextmanager
def stalled(server: LiveServer, track: TrackRequest, count: int) -> Iterator[None]:
    """``count`` readers that ask for the track and never read."""
    token = track.headers["Authorization"]
    request = f"GET {track.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode()
    with ExitStack() as open_ones:
        for _ in range(count):
            reader = open_ones.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.connect(("127.0.0.1", server.port))
            reader.sendall(request)
        yield


def ask(server: LiveServer, track: TrackRequest) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{track.path}", headers=track.headers, timeout=60)


@pytest.fixture
def idle_is_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ends an idle transaction within seconds, but of the test's own ``engine``, made before."""
    monkeypatch.setattr(database_engine, "IDLE_IN_TRANSACTION_TIMEOUT_S", 2)


@pytest.mark.usefixtures("idle_is_ended")  # before the server is made
def test_slot_comes_back_when_postgresql_ended_the_transaction(
    server: LiveServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 6.0)
    one, other = (long_track(session, server.settings) for _ in range(2))
    with stalled(server, one, 2), stalled(server, other, 2):
        wait_until(lambda: held(session) == 4, what="the server to wait for its readers")
        wait_until(lambda: held(session) == 0, what="PostgreSQL to end their transactions")
        wait_until(lambda: idle_again(server), timeout=30, what="the slots to come back")
        assert ask(server, one).status_code == 200


def test_slot_of_a_reader_that_takes_nothing_comes_back(
    server: LiveServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALL_TIMEOUT_S", 1.0)
    track = long_track(session, server.settings)
    with stalled(server, track, 2):
        wait_until(lambda: held(session) == 2, what="the server to wait for its readers")
        wait_until(lambda: idle_again(server), timeout=30, what="the slots to come back")
        assert ask(server, track).status_code == 200


def test_stream_broken_off_is_logged_in_one_line(
    server: LiveServer,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(streams, "STALL_TIMEOUT_S", 1.0)
    track = long_track(session, server.settings)
    uvicorn_log = logging.getLogger("uvicorn.error")  # does not propagate
    uvicorn_log.addHandler(caplog.handler)
    try:
        with stalled(server, track, 1):
            wait_until(lambda: held(session) == 1, what="the server to wait for its reader")
            wait_until(lambda: not server.connections(), timeout=30, what="the connection to be closed")
    finally:
        uvicorn_log.removeHandler(caplog.handler)
    loggers = {"uvicorn.error", streams.log.name}
    warnings = [r for r in caplog.records if r.name in loggers and r.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == ["stream_broken_off error=TimeoutError"]
    assert warnings[0].exc_info is None


def test_stalled_company_leaves_slots_to_the_others(server: LiveServer, session: Session) -> None:
    greedy, modest = (long_track(session, server.settings) for _ in range(2))
    with stalled(server, greedy, 6):
        wait_until(lambda: held(session) == 2, what="the server to wait for its readers")
        assert_problem(ask(server, greedy), 503, "Busy")
        assert ask(server, modest).status_code == 200


def test_slot_comes_back_when_postgresql_restarts(
    own_postgres: PostgresServer, own_database_url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 5.0)
    settings = make_settings(own_database_url, broker.url, broker.mqtt_key)
    engine = make_engine(settings, process="test")
    with make_sessions(engine)() as session:
        track = long_track(session, settings)
        server = LiveServer(settings)
        server.start()
        try:
            with stalled(server, track, 2):
                wait_until(lambda: held(session) == 2, what="the server to wait for its readers")
                session.close()
                own_postgres.kill()
                own_postgres.start()
                wait_until(lambda: idle_again(server), timeout=30, what="the slots to come back")
                wait_until(lambda: ask(server, track).status_code == 200, timeout=30, what="a track")
        finally:
            server.stop()
            engine.dispose()
