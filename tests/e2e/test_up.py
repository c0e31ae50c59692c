"""`milepost up` as a person starts it: with the real PostgreSQL, Mosquitto and processes."""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from local import loopback
from local.services.account import remove_home
from local.services.ports import answers, free_port
from local.supervision.processes import connections_to, end, is_alive, spawn
from tests.support.services.settings import PROJECT
from tests.support.slow import first_now
from tests.support.waiting import wait_until

READY = "Milepost runs."


class UpRun:
    """One run in a data folder; the same folder may be run again."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        self.folder = folder
        self.http_port, self.mqtt_port = free_port(), free_port()
        self.log = Path(tempfile.mkstemp(dir=folder, suffix=".log")[1])
        env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "MILEPOST_DATA_DIR": str(folder / "data"),
            "MILEPOST_HTTP_PORT": str(self.http_port),
            "MILEPOST_MQTT_PORT": str(self.mqtt_port),
            **variables,
        }
        command = [sys.executable, "-m", "milepost", "up", *options]
        self.process = spawn(command, log=self.log, cwd=folder, env=env)

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        wait_until(lambda: text in self.output() or self.process.poll() is not None, timeout, text)
        assert text in self.output(), self.output()

    def children(self) -> dict[str, psutil.Process]:
        records = json.loads((self.folder / "data" / "run.json").read_text())
        return {record["name"]: psutil.Process(record["pid"]) for record in records}

    def ask(self, path: str, form: bytes | None = None, token: str = "") -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", form)
        request.add_header("Authorization", f"Bearer {token}")
        with loopback.request(request, timeout_s=5) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def is_ready(self) -> bool:
        with loopback.request(f"http://127.0.0.1:{self.http_port}/readyz", timeout_s=3) as response:
            return bool(response.status == 200)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the services' account can get through (pytest's own is closed to it)."""
    with tempfile.TemporaryDirectory(prefix="milepost-tests-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
        remove_home(folder / "data")


@pytest.fixture
def runs(folder: Path) -> Iterator[list[UpRun]]:
    started: list[UpRun] = []
    yield started
    for run in started:
        end(run.process, (signal.SIGTERM,), within_s=12)


def test_it_starts_empty_survives_a_dead_child_and_leaves_nothing(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, "--no-demo", http_proxy="http://127.0.0.1:9"))
    run.wait_for("ingest started")
    ingest = run.children()["ingest"]
    ingest.suspend()
    run.wait_for("api started")
    wait_until(lambda: answers(run.http_port), timeout=60)
    threading.Timer(1.5, ingest.resume).start()
    run.wait_for(READY)
    assert connections_to(ingest.pid, run.mqtt_port) == 16, "what is published now would be dropped"
    assert run.is_ready()
    children = run.children()
    assert list(children) == ["postgres", "mosquitto", "ingest", "jobs", "api"]
    children["ingest"].kill()
    run.wait_for("ingest restarted")
    children = run.children()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(11) == 0
    assert not any(is_alive(child) for child in children.values())
    last_lines = run.output().splitlines()[-5:]
    assert last_lines == [f"{name} stopped" for name in ("api", "jobs", "ingest", "mosquitto", "postgres")]


def test_a_second_run_keeps_the_data_and_ends_what_a_killed_one_left(folder: Path, runs: list[UpRun]) -> None:
    runs.append(first := UpRun(folder, "--no-demo"))
    first.wait_for(READY)
    run_command(folder, "company", "add", "acme", "--manager-email", "boss@acme.example")
    left = first.children()
    left["jobs"].suspend()  # cannot hear that its parent is gone
    first.process.kill()
    first.process.wait()
    runs.append(second := UpRun(folder, "--no-demo"))
    second.wait_for(READY)
    assert "jobs of an earlier run was still there and was stopped" in second.output()
    assert not any(is_alive(process) for process in left.values())
    added = run_command(folder, "device", "add", "van 1", "--company", "acme")
    assert "publish to" in added


def test_a_folder_in_use_is_refused(folder: Path, runs: list[UpRun]) -> None:
    runs.append(first := UpRun(folder, "--no-demo"))
    first.wait_for(READY)
    runs.append(second := UpRun(folder, "--no-demo"))
    assert second.process.wait(20) == 1
    assert f"Another `milepost up` (process {first.process.pid})" in second.output()
    assert first.is_ready()


def test_the_demos_logins_work_and_its_vans_move(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, MILEPOST_DEMO_PASSWORD="a demo's password"))
    run.wait_for(READY)
    form = urllib.parse.urlencode({"username": "manager@demo.example", "password": "a demo's password"})
    token = run.ask("/auth/token", form.encode())["access_token"]
    assert run.ask("/deliveries/", token=token)["items"]

    def positions() -> str:
        return json.dumps(run.ask("/vehicles/", token=token)["items"])

    before = positions()
    wait_until(lambda: positions() != before, timeout=30, what="a van moves", poll=0.5)


@pytest.mark.parametrize("name", first_now(["HTTP", "MQTT"]))
def test_a_taken_port_is_one_line_with_the_setting_that_changes_it(
    folder: Path, runs: list[UpRun], name: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        runs.append(run := UpRun(folder, **{f"MILEPOST_{name}_PORT": str(port)}))
        assert run.process.wait(20) == 1
    (line,) = run.output().splitlines()
    assert f"Port {port}" in line
    assert f"MILEPOST_{name}_PORT" in line


@pytest.mark.parametrize("name", first_now(["INGEST_METRICS_PORT", "JOBS_METRICS_PORT"]))
def test_a_childs_taken_port_is_reported_before_it_starts(folder: Path, runs: list[UpRun], name: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        runs.append(run := UpRun(folder, **{f"MILEPOST_{name}": str(taken.getsockname()[1])}))
        assert run.process.wait(20) == 1
    (line,) = run.output().splitlines()
    assert f"MILEPOST_{name}" in line


def test_what_the_children_would_refuse_is_refused_at_once(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, MILEPOST_LOG_LEVEL="foo", MILEPOST_API_PROCESSES="0"))
    assert run.process.wait(20) == 2
    assert "MILEPOST_LOG_LEVEL" in run.output()
    assert "MILEPOST_API_PROCESSES" in run.output()
    assert "started" not in run.output()


def test_two_ports_of_children_must_differ(folder: Path, runs: list[UpRun]) -> None:
    port = str(free_port())
    same = {"MILEPOST_INGEST_METRICS_PORT": port, "MILEPOST_JOBS_METRICS_PORT": port}
    runs.append(run := UpRun(folder, **same))
    assert run.process.wait(20) == 2
    assert "must differ" in run.output()


@pytest.mark.parametrize("name", first_now(["a-file", "a-file/below", "x" * 300, "/proc/milepost"]))
def test_a_data_folder_that_cannot_be_is_one_line(folder: Path, runs: list[UpRun], name: str) -> None:
    (folder / "a-file").touch()
    runs.append(run := UpRun(folder, MILEPOST_DATA_DIR=name))
    assert run.process.wait(20) == 1
    (line,) = run.output().splitlines()
    assert "cannot be used" in line
    assert "MILEPOST_DATA_DIR" in line


@pytest.mark.parametrize("name", first_now(["run.json", "secrets.env", "lock", "services/postgres/password"]))
def test_a_folder_in_a_files_place_is_one_line(folder: Path, runs: list[UpRun], name: str) -> None:
    for made in (folder / "data" / name, *(folder / "data" / name).parents):
        made.mkdir(parents=True, exist_ok=True)
    runs.append(run := UpRun(folder))
    assert run.process.wait(20) == 1
    (line,) = run.output().splitlines()
    assert name in line


def test_ctrl_c_works_although_postgres_does_not_answer(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, "--no-demo"))
    record = folder / "data" / "run.json"
    wait_until(record.exists, timeout=60, what="the first child was started")
    postgres = run.children()["postgres"]
    postgres.suspend()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 0, "it would wait 60 s for PostgreSQL"
    assert "did not answer" not in run.output()
    assert "Traceback" not in run.output()
    assert not is_alive(postgres)


def test_a_postgres_that_dies_during_the_start_is_reported(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, "--no-demo"))
    run.wait_for("postgres started")
    run.children()["postgres"].kill()
    wait_until(
        lambda: run.process.poll() is not None or READY in run.output(),
        timeout=60,
        what="it went on or ended",
    )
    assert "Traceback" not in run.output()
    if run.process.poll() is not None:
        assert "PostgreSQL went away" in run.output()


def test_a_removed_data_folder_is_reported_at_the_stop(folder: Path, runs: list[UpRun]) -> None:
    runs.append(run := UpRun(folder, "--no-demo"))
    run.wait_for(READY)
    children = run.children()
    (folder / "data").rename(folder / "gone")
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(11) == 1
    assert run.output().splitlines()[-1].endswith("(set MILEPOST_DATA_DIR?)")
    assert "Traceback" not in run.output()
    assert not any(is_alive(child) for child in children.values())


def run_command(folder: Path, *arguments: str) -> str:
    """What a command prints that is given beside the run, with nothing configured but where it is."""
    log = folder / "command.log"
    log.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "MILEPOST_DATA_DIR": str(folder / "data")}
    process = spawn([sys.executable, "-m", "milepost", *arguments], log=log, cwd=folder, env=env)
    assert process.wait(30) == 0, log.read_text()
    return log.read_text()
