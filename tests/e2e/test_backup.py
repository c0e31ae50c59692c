"""A backup taken while devices send, restored on a new machine: nothing promised is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from core.models.fleet import Device
from core.operations.backups import catalogue
from core.rules.enums import Role
from core.settings import Settings
from tests.support import factories
from tests.support.devices import device, fix
from tests.support.services.choice import Services
from tests.support.services.local import LocalMosquitto
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases
from tests.support.services.processes import Processes


@pytest.fixture
def state(broker: Broker) -> Path:
    """Return the folder of the broker's persistent state."""
    server = broker._server
    if not isinstance(server, LocalMosquitto):
        pytest.skip("a container's volume is no folder of ours")
    return server.state / "mosquitto.db"


@pytest.fixture
def second(services: Services, broker: Broker) -> Iterator[Broker]:
    """Another machine's broker, never started, with the same key."""
    with services.mosquitto() as server:
        other = Broker(server)
        other.mqtt_key = broker.mqtt_key
        yield other


def done(processes: Processes, *arguments: str, settings: Settings | None = None) -> str:
    process = processes.start(*arguments, settings=settings)
    assert process.wait(60) == 0, process.output()
    return process.output()


def contents(url: str) -> dict[str, Any]:
    """Each table's number of rows and a checksum over them."""
    engine = create_engine(url)
    with engine.connect() as connection:
        query = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{}\" t"
        names = catalogue.tables(connection)
        found = {name: tuple(connection.execute(text(query.format(name))).one()) for name in names}
    engine.dispose()
    return found


def seconds_stored(url: str) -> set[float]:
    """The fixes in the database, by the number from which `fix` made them."""
    engine = create_engine(url)
    with engine.connect() as connection:
        latitudes = connection.scalars(text("SELECT latitude FROM position")).all()
    engine.dispose()
    return {round((latitude - 52.0) * 1e5) for latitude in latitudes}


class FixSender:
    """A device that sends a fix after the other, and keeps which were answered `stored`."""

    def __init__(self, broker: Broker, device_id: str) -> None:
        self.stored: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(broker, device_id))
        self._some = threading.Event()

    def __enter__(self) -> "FixSender":
        self._thread.start()
        assert self._some.wait(30), "no fix was answered"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, broker: Broker, device_id: str) -> None:
        with device(broker, device_id) as client:
            for number in range(1, 5_000):
                if self._stop.is_set():
                    break
                assert client.ask(fix(number))["result"] == "stored"
                self.stored.append(number)
                if number >= 20:
                    self._some.set()


def test_a_new_machine_goes_on_where_the_backup_ends(
    session: Session,
    broker: Broker,
    second: Broker,
    state: Path,
    settings: Settings,
    processes: Processes,
    databases: Databases,
    tmp_path: Path,
) -> None:
    company = factories.company(session)
    van = factories.vehicle(session, company)
    gps: Device = factories.device(session, company, vehicle_id=van.id)
    manager = factories.user(session, company, Role.MANAGER)
    session.commit()
    broker.rewrite(session)
    url = settings.database_url.get_secret_value()

    ingest = processes.start("ingest")
    ingest.wait_for("connected shard=f")
    with FixSender(broker, gps.id) as sender:
        promised = set(sender.stored)
        done(processes, "backup", str(tmp_path / "live.zip"), "--broker-state", str(state))
        meanwhile = len(sender.stored) - len(promised)
    assert meanwhile > 0
    ingest.terminate()
    with device(broker, gps.id) as client:
        client.send(fix(6_000))  # taken by the broker while no ingest runs to store it
    done(processes, "backup", str(tmp_path / "still.zip"), "--broker-state", str(state))
    broker.stop()
    before = contents(url)

    with databases.fresh() as new_url:
        _restore_both(processes, settings, second, new_url, tmp_path, promised, before)
        _all_go_on(processes, settings, second, new_url, gps.id, manager.email)


def _on_new_machine(settings: Settings, second: Broker, url: str) -> Settings:
    return settings.model_copy(
        update={"database_url": type(settings.database_url)(url), "mqtt_url": second.url}
    )


def _restore_both(
    processes: Processes,
    settings: Settings,
    second: Broker,
    url: str,
    folder: Path,
    promised: set[int],
    before: dict[str, Any],
) -> None:
    new = _on_new_machine(settings, second, url)
    done(processes, "restore", str(folder / "live.zip"), settings=new)
    assert promised <= seconds_stored(url)
    place = second.plugin_file.with_name("mosquitto.db")
    wanted = ("--broker-state", str(place), "--replace")
    done(processes, "restore", str(folder / "still.zip"), *wanted, settings=new)
    assert contents(url) == before
    assert 6_000 not in seconds_stored(url)
    done(processes, "broker", "write", "--path", str(second.plugin_file), settings=new)


def _all_go_on(
    processes: Processes, settings: Settings, second: Broker, url: str, device_id: str, email: str
) -> None:
    new = _on_new_machine(settings, second, url)
    second.start()
    processes.start("ingest", settings=new).wait_for("connected shard=f")
    with device(second, device_id) as client:
        assert client.ask(fix(6_001))["result"] == "stored"
        assert client.ask(fix(6_000))["result"] == "duplicate"  # it waited in the broker's queue
    processes.start("api", settings=new).wait_for("Uvicorn running")
    form = {"username": email, "password": factories.PASSWORD}
    answer = httpx.post(f"http://127.0.0.1:{new.http_port}/auth/token", data=form)
    assert answer.status_code == 200, answer.text
