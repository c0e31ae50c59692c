"""The supervisor with real children, each a line of Python."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from local.supervision.processes import end, is_alive, spawn
from local.supervision.run_state import AlreadyRunning, Started, end_leftovers, exclusive, record
from tests.support.services.settings import PROJECT
from tests.support.waiting import wait_until

SUPERVISE = """
import functools
import sys
from pathlib import Path
from local.supervision.processes import spawn
from local.supervision.supervisor import Child, Supervisor

folder = Path(sys.argv[1])

def child(name, code):
    log = folder / f"{name}.log"
    return Child(name, lambda: spawn([sys.executable, "-c", code], log=log, cwd=folder), log)

say = functools.partial(print, flush=True)
with Supervisor(folder, say, stop_within_s=2.0, log_bytes=20_000) as supervisor:
    for name, code in zip(sys.argv[2::2], sys.argv[3::2]):
        supervisor.start(child(name, code))
    print("all started", flush=True)
    supervisor.run()
"""
SLEEP = "import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
CHATTY_LINE = "line 000000000 of a child that never stops writing"
CHATTY = """
import itertools
for number in itertools.count():
    print(f"line {number:09} of a child that never stops writing", flush=True)
"""
WITH_GRANDCHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']); {SLEEP}"


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, **children: str) -> None:
        self.folder = folder
        self.log = folder / "supervisor.log"
        words = [word for name_and_code in children.items() for word in name_and_code]
        env = {**os.environ, "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", SUPERVISE, str(folder), *words]
        self.process = spawn(command, log=self.log, cwd=folder, env=env)
        self.wait_for("all started")

    def printed(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.printed()), what=f"the supervisor says {text!r}")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_until_deaf(self, *names: str) -> None:
        logs = [self.folder / f"{name}.log" for name in names]
        wait_until(lambda: all("deaf" in log.read_text() for log in logs), what="all ignore SIGTERM")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervise]:
    """``supervised(name="its code", ...)`` starts one with these children."""
    running: list[Supervised] = []

    def supervise(**children: str) -> Supervised:
        running.append(Supervised(tmp_path, **children))
        return running[-1]

    yield supervise
    for one in running:
        end(one.process)


def test_children_are_stopped_in_reverse_order_and_none_is_left(supervised: Supervise) -> None:
    run = supervised(first=SLEEP, second=SLEEP, third=WITH_GRANDCHILD)
    wait_until(lambda: len(run.children()) == 4, what="all four processes run")
    children = run.children()
    assert run.stop() == 0
    assert run.printed()[-4:] == ["stopping …", "third stopped", "second stopped", "first stopped"]
    assert not any(is_alive(child) for child in children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_of_the_three_signals_stops_it(supervised: Supervise, number: signal.Signals) -> None:
    assert supervised(only=SLEEP).stop(number) == 0


def test_a_second_ctrl_c_does_no_harm(supervised: Supervise) -> None:
    run = supervised(deaf=DEAF)
    run.wait_until_deaf("deaf")
    (child,) = run.children()
    run.process.send_signal(signal.SIGINT)
    run.wait_for("stopping")
    assert run.stop(signal.SIGINT) == 0
    assert run.printed()[-1] == "deaf did not stop and was killed"
    assert not is_alive(child)


def test_those_who_do_not_stop_are_killed_in_time(supervised: Supervise) -> None:
    run = supervised(one=DEAF, two=DEAF, three=DEAF)
    run.wait_until_deaf("one", "two", "three")
    started = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - started < 3.5


def test_a_child_that_dies_is_reported_and_started_again(supervised: Supervise) -> None:
    run = supervised(steady=SLEEP, mortal=SLEEP)
    steady, mortal = sorted(run.children(), key=lambda child: child.pid)
    mortal.kill()
    run.wait_for("mortal restarted")
    assert any(line.startswith("mortal was ended by SIGKILL; starts again in") for line in run.printed())
    assert steady in run.children()
    assert mortal not in run.children()
    assert len(run.children()) == 2


def test_a_child_that_fails_says_its_last_words(supervised: Supervise) -> None:
    run = supervised(failing="print('no luck'); raise SystemExit(3)")
    run.wait_for("failing ended with 3; starts again in")
    run.wait_for("its last words: no luck")
    run.wait_for("failing restarted")


def test_a_child_that_cannot_be_started_is_tried_again(supervised: Supervise) -> None:
    run = supervised(mortal=SLEEP)
    log = run.folder / "mortal.log"
    log.unlink()
    log.mkdir()
    (child,) = run.children()
    child.kill()
    run.wait_for("mortal cannot be started: ")
    run.wait_for("tried again in")
    log.rmdir()
    run.wait_for("mortal restarted")
    assert run.stop() == 0


def test_a_record_that_cannot_be_written_is_tried_again(supervised: Supervise) -> None:
    run = supervised(mortal=SLEEP)
    (run.folder / "run.json").unlink()
    (run.folder / "run.json").mkdir()
    (child,) = run.children()
    child.kill()
    run.wait_for("cannot be written: Is a directory; tried again every second")
    run.wait_for("mortal restarted")
    (run.folder / "run.json").rmdir()
    wait_until((run.folder / "run.json").is_file, what="the record is written")
    assert str(run.children()[0].pid) in (run.folder / "run.json").read_text()
    assert run.stop() == 0


def test_a_childs_log_stays_bounded_while_it_writes(supervised: Supervise) -> None:
    run = supervised(chatty=CHATTY)
    newest = run.folder / "chatty.log"
    older = [run.folder / f"chatty.log.{number}" for number in (3, 2, 1)]
    wait_until(older[0].exists, timeout=60, what="its log was rotated three times")
    assert run.stop() == 0
    assert all(log.stat().st_size <= 2 * 20_000 for log in older)
    assert not (run.folder / "chatty.log.4").exists()
    lines = [line for log in (*older, newest) for line in log.read_text().splitlines()]
    numbers = [int(line.split()[1]) for line in lines if len(line) == len(CHATTY_LINE)]
    assert numbers == sorted(set(numbers))
    assert len(lines) - len(numbers) <= 2 * len(older) + 1, "only the lines at a cut may be damaged"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word of a parent's death is Linux's")
def test_children_end_with_a_supervisor_that_is_killed(supervised: Supervise) -> None:
    run = supervised(one=SLEEP, two=SLEEP)
    children = run.children()
    run.process.kill()
    wait_until(lambda: not any(is_alive(child) for child in children), what="its children end")


def leftovers(folder: Path, within_s: float = 3.0) -> list[str]:
    """Return the lines printed about them."""
    printed: list[str] = []
    end_leftovers(folder, printed.append, within_s=within_s)
    return printed


def test_the_next_run_ends_what_a_killed_one_left(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record(tmp_path, [Started.now("left", sleeper.pid, signal.SIGTERM)])
    assert leftovers(tmp_path) == ["left of an earlier run was still there and was stopped"]
    assert sleeper.wait(5) == -signal.SIGTERM
    assert leftovers(tmp_path) == []


def test_a_leftover_that_does_not_listen_is_killed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    record(tmp_path, [Started.now("stuck", sleeper.pid, signal.SIGTERM)])
    assert leftovers(tmp_path, within_s=0.1)
    assert sleeper.wait(5) < 0


def test_a_leftover_is_killed_at_once_when_the_wait_is_zero(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    record(tmp_path, [Started.now("stuck", sleeper.pid, signal.SIGTERM)])
    end_leftovers(tmp_path, lambda _: None, within_s=60, give_up=lambda: True)
    assert sleeper.wait(5) < 0


def test_a_process_that_only_has_the_number_of_a_leftover_lives(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    earlier = psutil.Process(sleeper.pid).create_time() - 60
    record(tmp_path, [Started("left", sleeper.pid, earlier, signal.SIGKILL)])
    assert leftovers(tmp_path) == []
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": ',
        "{}",
        '[{"name": "x", "pid": "y", "started": 1.0, "stop_signal": 15}]',
        '[{"name": "x", "pid": 0, "started": 1.0, "stop_signal": 15}]',
        '[{"name": "x", "pid": 99999999999999999999, "started": 1.0, "stop_signal": 15}]',
        '[{"name": "x", "pid": 77, "started": 1.0, "stop_signal": 1500}]',
    ],
)
def test_a_broken_record_is_named_and_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    (line,) = leftovers(tmp_path)
    assert f"{tmp_path}/run.json is damaged" in line
    assert leftovers(tmp_path) == []


def test_the_time_to_stop_counts_from_the_ctrl_c(tmp_path: Path) -> None:
    code = SUPERVISE.replace("supervisor.run()", "time.sleep(1.5)").replace("import sys", "import sys, time")
    log, child_log = tmp_path / "supervisor.log", tmp_path / "deaf.log"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    run = spawn([sys.executable, "-c", code, str(tmp_path), "deaf", DEAF], log=log, cwd=tmp_path, env=env)
    try:
        wait_until(lambda: child_log.exists() and "deaf" in child_log.read_text(), what="it ignores SIGTERM")
        started = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.wait(10) == 0
        assert time.monotonic() - started < 3.0
    finally:
        end(run)


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"),
        exclusive(tmp_path),
    ):
        pass
    with exclusive(tmp_path):
        pass


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = spawn([sys.executable, "-c", SLEEP], log=tmp_path / "sleeper.log", cwd=tmp_path)
    yield process
    with suppress(ProcessLookupError):
        end(process, signals=())
