"""What a data folder remembers of its run: who has it, and which processes to end if we are killed."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals

import psutil

from local.processes import kill_group, wait_gone

LOCK = "lock"
RECORD = "run.json"
SAME_START_S = 1.0  # a process's start time is known to a clock tick


class AlreadyRunning(Exception):
    """Another `milepost up` has this data folder."""


@dataclass(frozen=True)
class Started:
    """``started`` (seconds since the epoch) tells the process from a later one with the same number."""

    name: str
    pid: int
    started: float
    stop_signal: int

    @classmethod
    def now(cls, name: str, pid: int, stop_signal: Signals) -> "Started":
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:  # it died at once
            started = 0.0
        return cls(name, pid, started, int(stop_signal))


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the folder. The kernel lets go when we die, however we die. Raises `AlreadyRunning`."""
    with (data_dir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(
                f"Another `milepost up` (process {file.read().strip() or 'unknown'}) runs in {data_dir}."
                " Stop it, or set MILEPOST_DATA_DIR, MILEPOST_HTTP_PORT and MILEPOST_MQTT_PORT for a second."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def record(data_dir: Path, processes: Sequence[Started]) -> None:
    unfinished = data_dir / f".{RECORD}.unfinished"
    unfinished.write_text(json.dumps([asdict(process) for process in processes], indent=1))
    unfinished.replace(data_dir / RECORD)


def end_leftovers(data_dir: Path, within_s: float = 3.0) -> list[str]:
    """End what a run that was killed left behind, last started first. The names of those that still ran."""
    ended = []
    for process in reversed(_recorded(data_dir)):
        if _end(process, within_s):
            ended.append(process.name)
    (data_dir / RECORD).unlink(missing_ok=True)
    return ended


def _recorded(data_dir: Path) -> list[Started]:
    try:
        return [Started(**entry) for entry in json.loads((data_dir / RECORD).read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def _end(recorded: Started, within_s: float) -> bool:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(recorded.pid)
        if abs(process.create_time() - recorded.started) <= SAME_START_S:
            process.send_signal(recorded.stop_signal)
            wait_gone([process], within_s)
            kill_group(recorded.pid)
            return True
    return False
