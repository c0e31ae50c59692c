"""Real processes, killed and starved: nothing answered is lost, nothing is stored twice."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from core.database.engine import make_sessions
from core.models.fleet import Device
from core.settings import Settings
from tests.support import factories
from tests.support.devices import DeviceClient, device, fix
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.services.processes import MilepostProcess, Processes
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

MIB = 1024 * 1024


def make_devices(session: Session, broker: Broker, number: int) -> list[str]:
    company = factories.company(session)
    devices: list[Device] = [
        factories.device(session, company, vehicle_id=factories.vehicle(session, company).id)
        for _ in range(number)
    ]
    session.commit()
    broker.rewrite(session)
    return [made.id for made in devices]


def stored(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        rows: int = session.execute(text("SELECT count(*) FROM position")).scalar_one()
        return rows


@pytest.fixture
def devices(session: Session, broker: Broker) -> Iterator[list[DeviceClient]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(device(broker, device_id)) for device_id in make_devices(session, broker, 20)
        ]


def more_than(rows: int, sessions: sessionmaker[Session]) -> None:
    wait_until(lambda: stored(sessions) > rows, 60)


def _have_answers(answered: dict[str, int], number: int) -> bool:
    return sum(answered.values()) > number


def start_ingest(processes: Processes, settings: Settings | None = None) -> MilepostProcess:
    process = processes.start("ingest", settings=settings)
    process.wait_for("connected shard=f")
    return process


def test_killed_ingest_stores_each_of_20000_fixes_once(
    devices: list[DeviceClient], sessions: sessionmaker[Session], processes: Processes
) -> None:
    ingest = start_ingest(processes)
    for part in range(5):
        for client in devices:
            client.send_soon(*[fix(part * 200 + second) for second in range(200)])
        more_than(part * 4_000, sessions)
        ingest.kill()
        ingest = start_ingest(processes)
    for client in devices:
        client.flush()
    wait_until(lambda: stored(sessions) == 20_000, 60)
    # One more, so that whatever was still on its way has been taken too.
    assert devices[0].ask(fix(-1)) == {"result": "stored"}
    assert stored(sessions) == 20_001
    with sessions() as session:
        assert session.execute(text("SELECT count(*) FROM quarantine")).scalar_one() == 0
    assert ingest.terminate() == 0


def test_kill_9_of_the_broker_loses_nothing_that_was_answered(
    session: Session, broker: Broker, sessions: sessionmaker[Session], processes: Processes
) -> None:
    """B1: devices resend what was not answered; what was answered is in the table."""
    device_ids = make_devices(session, broker, 10)
    start_ingest(processes)
    answered = dict.fromkeys(device_ids, 0)

    def drive(device_id: str) -> None:
        second = 0
        while second < 100:
            try:
                with device(broker, device_id) as client:
                    while second < 100:
                        assert client.ask(fix(second), timeout=3)["result"] in {"stored", "duplicate"}
                        second += 1
                        answered[device_id] = second
            except Exception:  # the broker is away: connect and send the same fix again
                continue

    threads = [threading.Thread(target=drive, args=(device_id,)) for device_id in device_ids]
    for thread in threads:
        thread.start()
    for answers in (200, 400):
        wait_until(partial(_have_answers, answered, answers), 60)
        broker.kill()
        broker.start()
    for thread in threads:
        thread.join(120)
    assert answered == dict.fromkeys(device_ids, 100)
    assert stored(sessions) == 1_000


def test_fixes_sent_while_ingest_and_broker_are_away_are_stored(
    devices: list[DeviceClient], broker: Broker, sessions: sessionmaker[Session], processes: Processes
) -> None:
    """B3. The session must exist once before, as after any first start."""
    assert start_ingest(processes).terminate() == 0
    for client in devices:
        client.send_soon(*[fix(second) for second in range(50)])
    for client in devices:
        client.flush()
    broker.restart()
    start_ingest(processes)
    wait_until(lambda: stored(sessions) == 1_000, 30)


def test_a_database_away_for_10_s_loses_nothing_and_keeps_memory_flat(
    own_postgres: PostgresServer,
    own_database_url: str,
    broker: Broker,
    processes: Processes,
) -> None:
    engine = create_engine(own_database_url)
    sessions = make_sessions(engine)
    with sessions() as session:
        device_ids = make_devices(session, broker, 5)
    ingest = start_ingest(processes, make_settings(own_database_url, broker.url, broker.mqtt_key))
    with ExitStack() as stack:
        clients = [stack.enter_context(device(broker, device_id)) for device_id in device_ids]
        assert clients[0].ask(fix(-1)) == {"result": "stored"}
        engine.dispose()
        before = psutil.Process(ingest.pid).memory_info().rss
        own_postgres.stop()
        for client in clients:
            client.send_soon(*[fix(second, note="x" * 500) for second in range(4_000)])
        for client in clients:
            client.flush()
        ingest.wait_for("database_away")
        peak = max_rss_while_away(ingest, seconds=10)
        own_postgres.start()
        wait_until(lambda: stored(sessions) == 20_001, 60)
    assert peak - before < 60 * MIB, f"{before / MIB:.0f} MiB grew to {peak / MIB:.0f} MiB"
    engine.dispose()


def max_rss_while_away(process: MilepostProcess, seconds: float) -> int:
    """Watch the process for a fixed time: that the database stays away this long is the test."""
    watched, peak = psutil.Process(process.pid), 0
    finished = threading.Event()
    timer = threading.Timer(seconds, finished.set)
    timer.start()
    while not finished.wait(0.1):
        peak = max(peak, watched.memory_info().rss)
    return peak


def test_it_stops_in_order_and_says_so(processes: Processes, broker: Broker, tmp_path: Path) -> None:
    ingest = start_ingest(processes)
    assert ingest.terminate(timeout=5) == 0
    assert "stopped worker=0" in ingest.output()
