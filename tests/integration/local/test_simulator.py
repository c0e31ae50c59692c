"""Simulated units on a real broker, with a real ingest behind it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from core.errors import NotFound
from core.models.fleet import Device, Vehicle
from core.settings import Settings
from local.simulator.fleet import logins, simulated_units
from local.simulator.main import run
from local.simulator.simulation import Simulation
from tests.support import factories
from tests.support.services.mosquitto import Broker
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until

VEHICLES = 5


class Simulated:
    """A simulation on a thread of its own, and its output."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], rate_hz: float = 20.0) -> None:
        with sessions.begin() as session:
            units, _ = simulated_units(session, "demo", VEHICLES)
        self.lines: list[str] = []
        self.simulation = Simulation(logins(settings, units), rate_hz, self.lines.append, seed=1)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.simulation.run, args=(self.stop,))

    @property
    def stored(self) -> int:
        return self.simulation.tally.answers["stored"]

    def stored_more_than(self, fixes: int) -> Callable[[], bool]:
        return lambda: self.stored > fixes


@contextmanager
def simulated(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Simulated]:
    """Run it inside the block; its last line is printed after it."""
    running = Simulated(settings, sessions)
    running.thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        running.thread.join(10)
    assert not running.thread.is_alive()


@pytest.fixture(autouse=True)
def company(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        factories.company(session, slug="demo")


@pytest.fixture
def known_units(sessions: sessionmaker[Session], broker: Broker) -> None:
    with sessions.begin() as session:
        simulated_units(session, "demo", VEHICLES)
    with sessions() as session:
        broker.rewrite(session)


@pytest.fixture
def ingest(broker: Broker, processes: Processes) -> None:
    processes.start("ingest").wait_for("connected shard=f")


def rows(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalar(text("SELECT count(*) FROM position")) or 0


def test_vehicles_and_devices_are_made_once(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        first, made = simulated_units(session, "demo", 3)
    with sessions.begin() as session:
        again, made_more = simulated_units(session, "demo", 5)
    assert (made, made_more) == (3, 2)
    assert again[:3] == first
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Vehicle)) == 5
        assert session.scalar(select(func.count()).select_from(Device)) == 5


def test_an_unknown_company_is_refused(sessions: sessionmaker[Session]) -> None:
    with sessions() as session, pytest.raises(NotFound):
        simulated_units(session, "nobody", 1)


@pytest.mark.usefixtures("known_units", "ingest")
def test_every_fix_that_is_called_stored_is_a_row(
    settings: Settings, sessions: sessionmaker[Session]
) -> None:
    with simulated(settings, sessions) as running:
        wait_until(running.stored_more_than(100), what="100 fixes are stored")
    tally = running.simulation.tally
    assert rows(sessions) == tally.answers["stored"]
    assert set(tally.answers) == {"stored"}
    held = sum(unit.held for unit in running.simulation.units)
    assert tally.made == tally.answered + held
    assert f"stored {tally.answers['stored']:,}" in running.lines[-1]


@pytest.mark.usefixtures("ingest")
def test_units_that_the_broker_does_not_know_yet_wait_and_say_so(
    settings: Settings, sessions: sessionmaker[Session], broker: Broker
) -> None:
    with simulated(settings, sessions) as running:
        wait_until(lambda: any("not known to the broker yet" in line for line in running.lines))
        assert running.simulation.tally.made == 0
        with sessions() as session:
            broker.rewrite(session)
        wait_until(running.stored_more_than(0), timeout=20, what="a fix is stored")


@pytest.mark.usefixtures("known_units", "ingest")
def test_a_broker_that_restarts_loses_no_fix(
    settings: Settings, sessions: sessionmaker[Session], broker: Broker
) -> None:
    with simulated(settings, sessions) as running:
        wait_until(running.stored_more_than(20), what="20 fixes are stored")
        broker.stop()
        made = running.simulation.tally.made
        wait_until(lambda: running.simulation.tally.made > made + 20, what="the vans drive on")
        before = running.stored
        broker.start()
        wait_until(running.stored_more_than(before + 20), timeout=30, what="fixes are stored again")
        wait_until(lambda: not any(u.outgoing.waiting for u in running.simulation.units), what="no backlog")
    units = running.simulation.units
    left = sum(unit.held + unit.outgoing.unanswered + unit.outgoing.waiting for unit in units)
    assert rows(sessions) >= running.simulation.tally.made - left
    assert sum(unit.outgoing.dropped for unit in units) == 0


@pytest.mark.usefixtures("known_units")
def test_without_ingest_the_buffer_grows_and_nothing_is_answered(
    settings: Settings, sessions: sessionmaker[Session]
) -> None:
    with simulated(settings, sessions) as running:
        units = running.simulation.units
        wait_until(lambda: sum(unit.outgoing.waiting for unit in units) > 20, what="fixes wait")
    assert running.simulation.tally.answered == 0


@pytest.mark.usefixtures("known_units", "ingest")
def test_run_ends_by_itself_with_a_summary(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings, vehicles=VEHICLES, rate_hz=10, duration_s=1.5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{VEHICLES} simulated vehicles of demo, 0 of them new"
    assert lines[1].startswith(f"connected {VEHICLES}/{VEHICLES} ")
    assert "fixes made in" in lines[-1]


@pytest.mark.usefixtures("known_units")
def test_sigterm_ends_the_command_with_a_summary(processes: Processes) -> None:
    process = processes.start("simulate", "--vehicles", "2", "--rate", "5")
    process.wait_for("connected 2/2")
    process.terminate(timeout=5)
    assert "fixes made in" in process.output().splitlines()[-1]


def test_a_company_that_is_not_there_is_one_clear_line(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, vehicles=1, rate_hz=1, company="nobody") == 1
    assert "There is no company 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(("vehicles", "rate_hz"), [(0, 1.0), (100_000, 1.0), (1, 0.0), (1, 1e9)])
def test_impossible_numbers_are_refused(settings: Settings, vehicles: int, rate_hz: float) -> None:
    assert run(settings, vehicles=vehicles, rate_hz=rate_hz) == 2
