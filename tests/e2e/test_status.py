"""The status of real processes, while each thing that Milepost stands on fails and comes back."""

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from core.database.engine import make_engine, make_sessions
from core.rules.enums import Role
from core.settings import Settings
from local import loopback
from local.services.account import make_passable, service_account
from local.services.postgres import THROWAWAY_OPTIONS, Postgres
from tests.support import factories
from tests.support.api_client import bearer
from tests.support.devices import device, fix
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases, PostgresServer
from tests.support.services.processes import MilepostProcess, Processes
from tests.support.services.settings import make_settings
from tests.support.small_disk import WHY_NOT, SmallDisk, can_mount, small_disk
from tests.support.waiting import wait_until

METRICS_TOKEN = "a token for the monitor alone"
PROMISED_S = 2.0
SLACK_S = 4.0  # for a machine that is busy with other tests
NO_USERS: dict[str, Any] = {"defaultACLAccess": {}, "roles": [], "clients": []}


@dataclass
class System:
    """Ingest, jobs and API as processes of their own."""

    settings: Settings
    processes: Processes
    ingest: MilepostProcess
    jobs: MilepostProcess
    api: MilepostProcess

    def report(self) -> dict[str, Any]:
        with loopback.request(f"{self._url}/status/", timeout_s=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def check(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.report()["checks"] if c["name"] == name)
        return found

    def readiness(self) -> int:
        return self._code("/readyz", {})

    def status_code(self, headers: Mapping[str, str]) -> int:
        return self._code("/status/", headers)

    def _code(self, path: str, headers: Mapping[str, str]) -> int:
        request = Request(f"{self._url}{path}", headers=dict(headers))
        try:
            with loopback.request(request, timeout_s=30) as response:
                return int(response.status)
        except HTTPError as error:
            return int(error.code)

    def wait_until(self, name: str, status: str, detail: str = "", timeout: float = 90.0) -> None:
        def is_so() -> bool:
            found = self.check(name)
            return found["status"] == status and detail in found["detail"]

        wait_until(is_so, timeout, f"{name} is {status}: {detail}", poll=0.2)

    def wait_well(self, timeout: float = 90.0) -> None:
        wait_until(lambda: self.report()["status"] == "ok", timeout, "the system is well", poll=0.2)

    def command(self, *arguments: str) -> tuple[int, str]:
        process = self.processes.start("status", *arguments, settings=self.settings)
        code = process.wait(60)
        return code, process.output()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"


def started(processes: Processes, settings: Settings) -> System:
    settings = settings.model_copy(update={"metrics_token": SecretStr(METRICS_TOKEN)})
    ingest, jobs, api = (processes.start(verb, settings=settings) for verb in ("ingest", "jobs", "api"))
    ingest.wait_for("connected shard=f", 60)
    api.wait_for("live started", 60)
    system = System(settings, processes, ingest, jobs, api)
    wait_until(lambda: _answers(system), 60, "the API answers")
    system.wait_well()
    return system


def _answers(system: System) -> bool:
    try:
        return bool(system.report())
    except OSError:
        return False


@pytest.fixture
def system(processes: Processes, settings: Settings) -> System:
    return started(processes, settings)


def test_a_well_system_is_ok_and_the_command_agrees(system: System) -> None:
    report = system.report()
    assert {check["status"] for check in report["checks"]} <= {"ok", "unknown"}
    assert len(system.check("ingest")["parts"]) == 16
    assert system.check("leader")["parts"][0]["process"].endswith(f":{system.jobs.pid}")
    system.wait_until("queue", "ok")
    assert system.check("queue")["figures"]["messages_waiting"] is not None
    code, text = system.command()
    assert code == 0, text
    assert text.startswith("The system is ok.")
    code, text = system.command("--json")
    assert code == 0
    assert [check["name"] for check in json.loads(text)["checks"]] == [
        check["name"] for check in report["checks"]
    ]


def test_ingest_that_is_stopped_or_killed_is_reported(system: System) -> None:
    assert system.ingest.terminate() == 0
    system.wait_until("ingest", "failing", "It was stopped.")
    ingest = system.processes.start("ingest", settings=system.settings)
    system.wait_well()
    ingest.kill()
    system.wait_until("ingest", "failing", "It has been silent for")
    code, text = system.command()
    assert code == 1
    assert "The system is failing." in text
    system.processes.start("ingest", settings=system.settings)
    system.wait_well()


def test_jobs_that_stop_leave_no_leader_and_no_relay(system: System) -> None:
    assert system.jobs.terminate() == 0
    system.wait_until("leader", "failing")
    system.wait_until("relay", "failing", "It was stopped.")
    system.processes.start("jobs", settings=system.settings)
    system.wait_well()


def test_a_broker_that_refuses_every_login_is_reported(
    system: System, broker: Broker, session: Session
) -> None:
    broker.stop()
    system.wait_until("broker", "failing", "cannot be reached")
    system.wait_until("ingest", "failing", "It is not on the broker: the broker cannot be reached.")
    assert system.check("queue")["status"] == "unknown"
    broker.plugin_file.write_text(json.dumps(NO_USERS))
    broker.start()
    system.wait_until("broker", "failing", "refused")
    system.wait_until("ingest", "failing", "It is not on the broker: the broker refused us")
    system.wait_until("relay", "failing", "It is not on the broker: refused as relay")
    code, text = system.command("--json")
    assert code == 1
    refused = next(check for check in json.loads(text)["checks"] if check["name"] == "broker")
    assert "refused as status" in refused["detail"]
    system.api.wait_for("alert=status check=broker status=failing", 30)
    broker.rewrite(session)
    system.wait_well()
    system.api.wait_for("alert=status check=broker status=ok", 30)
    assert system.api.output().count("alert=status check=broker") == 2


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """SIGSTOP to all processes of the server: the kernel still takes connections, and nothing answers."""
    assert isinstance(server, Postgres)
    assert server.process is not None
    postmaster = psutil.Process(server.process.pid)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.send_signal(signal.SIGCONT)


def timed(ask: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.monotonic()
    answer = ask()
    return time.monotonic() - begun, answer


@pytest.mark.slow
def test_a_frozen_database_holds_neither_readiness_nor_status(
    own_postgres: PostgresServer, own_database_url: str, broker: Broker, processes: Processes
) -> None:
    if not isinstance(own_postgres, Postgres):
        pytest.skip("the processes of a server in a container are not ours to freeze")
    settings = make_settings(own_database_url, broker.url, broker.mqtt_key)
    engine = make_engine(settings, process="test")
    with make_sessions(engine)() as other:
        manager = factories.user(other, factories.company(other), Role.MANAGER)
        other.commit()
    engine.dispose()
    system = started(processes, settings)
    people = bearer(settings, manager)
    assert system.status_code(people) == 200
    with frozen(own_postgres):
        for _ in range(3):
            took_s, code = timed(system.readiness)
            assert code == 503
            assert took_s < PROMISED_S + SLACK_S, "it waits for the database"
        for _ in range(3):
            took_s, code = timed(lambda: system.status_code(people))
            assert code == 503
            assert took_s < PROMISED_S + SLACK_S, "it waits for the database"
        system.wait_until("database", "failing")
        took_s, report = timed(system.report)
        assert took_s < PROMISED_S + SLACK_S
        assert report["status"] == "failing"
        assert system.check("ingest")["status"] == "unknown"
        system.api.wait_for("alert=status check=database status=failing", 30)
    wait_until(lambda: system.readiness() == 200, 60, "it is ready again")
    system.wait_well()
    system.api.wait_for("alert=status check=database status=ok", 30)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    if not can_mount():
        pytest.skip(WHY_NOT)
    with small_disk(400) as disk:
        yield disk


@pytest.fixture
def small_postgres(disk: SmallDisk, tmp_path: Path) -> Iterator[Postgres]:
    """A server whose disk can be filled; its log stands elsewhere."""
    account = service_account(disk.folder)
    home = make_passable(disk.folder / "home")
    options = {**THROWAWAY_OPTIONS, "min_wal_size": "32MB", "max_wal_size": "64MB"}
    server = Postgres(home, account=account, log=tmp_path / "postgres.log", options=options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.slow
def test_a_full_disk_is_reported_until_space_is_freed(
    disk: SmallDisk, small_postgres: Postgres, broker: Broker, processes: Processes, session: Session
) -> None:
    url = Databases(small_postgres).make()
    settings = make_settings(url, broker.url, broker.mqtt_key, disk_folder=str(disk.folder))
    engine = make_engine(settings, process="test")
    with make_sessions(engine)() as other:
        company = factories.company(other)
        device_id = factories.device(other, company, vehicle_id=factories.vehicle(other, company).id).id
        other.commit()
        broker.rewrite(other)
    engine.dispose()
    system = started(processes, settings)
    with device(broker, device_id) as client:
        assert client.ask(fix(0)) == {"result": "stored"}
        disk.fill()
        client.send_soon(fix(1))
        system.wait_until("ingest", "failing")
        system.wait_until("database", "failing")
        system.wait_until("disk", "failing")
        assert system.command()[0] == 1
        system.api.wait_for("alert=status check=ingest status=failing", 30)
        disk.free_space()
        system.wait_well()
        system.api.wait_for("alert=status check=ingest status=ok", 30)
        client.flush()
        assert client.ask(fix(2), timeout=30) == {"result": "stored"}
        assert client.ask(fix(1), timeout=30) == {"result": "duplicate"}, "it was lost on the full disk"
