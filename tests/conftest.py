"""Fixtures: a PostgreSQL, a database a test, a broker with access control, settings, and real processes."""

import os
import signal
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from core.database.engine import make_engine, make_sessions
from core.settings import Settings
from tests.support.services.choice import VARIABLE, Services, open_services
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases, PostgresServer
from tests.support.services.processes import Processes
from tests.support.services.settings import make_settings
from tests.support.services.signals import start_children_afresh


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings() -> Iterator[None]:
    """What the developer has set for another Milepost must not reach a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("MILEPOST_") and name != VARIABLE:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_signals() -> None:
    """In the process that runs tests: one that only hands them out keeps what it was started with."""
    start_children_afresh()


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with open_services() as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres_server(services: Services) -> Iterator[PostgresServer]:
    """The server that all tests share: never stop it, take `own_postgres` for that."""
    with services.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    return Databases(postgres_server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def own_postgres(services: Services) -> Iterator[PostgresServer]:
    """A server of the test's own, to stop and to kill. It has no database of ours yet."""
    with services.postgres() as server:
        yield server


@pytest.fixture
def own_database_url(own_postgres: PostgresServer) -> str:
    """A migrated, empty database on `own_postgres`."""
    return Databases(own_postgres).make()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(make_settings(database_url), process="test")
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return make_sessions(engine)


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Whoever wants others to see its changes commits them."""
    with sessions() as session:
        yield session


@pytest.fixture
def broker(services: Services, sessions: sessionmaker[Session]) -> Iterator[Broker]:
    """A broker whose users and roles are those of the test's database as it is now: our own services'.

    After adding devices or people: commit, then ``broker.rewrite(session)``.
    """
    with services.mosquitto() as server:
        broker = Broker(server)
        with sessions() as session:
            broker.write(session)
        broker.start()
        yield broker


@pytest.fixture
def settings(database_url: str, broker: Broker) -> Settings:
    return make_settings(database_url, broker.url, broker.mqtt_key)


@pytest.fixture
def processes(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(settings, tmp_path)
    yield processes
    processes.end_all()


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: with everything that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that a failed test left behind must not keep the run from ending."""
    strays = [thread.name for thread in threading.enumerate() if not thread.daemon][1:]
    if strays:
        print(f"threads left running by tests: {', '.join(strays)}", flush=True)
        os._exit(pytest.ExitCode.TESTS_FAILED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the output of a failed test's processes and broker."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        processes, broker = item.funcargs.get("processes"), item.funcargs.get("broker")
        if isinstance(processes, Processes):
            for process in processes.started:
                report.sections.append((process.name, process.output()[-20_000:]))
        if isinstance(broker, Broker):
            report.sections.append(("mosquitto", broker.log()[-5_000:]))
    return report
