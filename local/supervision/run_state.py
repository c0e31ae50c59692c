"""The run state in a data folder: its owner, and the processes to end if we are killed."""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals

import msgspec
import psutil

from local.supervision.processes import GiveUp, kill_group, never, wait_gone

LOCK = "lock"
RECORD = "run.json"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PIDS = range(2, 2**31)  # never 0 or 1: a signal to those groups would reach us, or every process
SAME_START_S = 1.0  # a process's start time is exact to a clock tick


class AlreadyRunning(Exception):
    """Another `milepost up` uses this data folder."""


@dataclass(frozen=True)
class Started:
    """``started`` (seconds since the epoch) distinguishes the process from a later one with the same pid."""

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
    """Lock the folder; the kernel unlocks it when we die in any way. Raises `AlreadyRunning`."""
    with (data_dir / LOCK).open("a+", errors="replace") as file:
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


def clear_record(data_dir: Path) -> None:
    """Record that no process runs any more; on a full disk delete the record. Raises `OSError`."""
    try:
        record(data_dir, [])
    except OSError as error:
        if error.errno not in FULL:
            raise
        (data_dir / RECORD).unlink(missing_ok=True)


def end_leftovers(
    data_dir: Path, say: Callable[[str], None], *, within_s: float = 3.0, give_up: GiveUp = never
) -> None:
    """End the processes left by a killed run, last started first; faster once ``give_up()``."""
    try:
        recorded = _recorded(data_dir / RECORD)
    except ValueError:
        say(f"{data_dir / RECORD} is damaged: what an earlier run left, if anything, was not stopped")
        recorded = []
    for process in reversed(recorded):
        if _end(process, within_s, give_up):
            say(f"{process.name} of an earlier run was still there and was stopped")
    (data_dir / RECORD).unlink(missing_ok=True)


def _recorded(path: Path) -> list[Started]:
    """Read the record. Raises `ValueError` for content that `record` would not write."""
    try:
        recorded = msgspec.json.decode(path.read_bytes(), type=list[Started])
    except FileNotFoundError:
        return []
    for process in recorded:
        if process.pid not in PIDS:
            raise ValueError(f"{process.pid} is no process id of ours")
        Signals(process.stop_signal)
    return recorded


def _end(recorded: Started, within_s: float, give_up: GiveUp) -> bool:
    # AccessDenied means that the pid was reused by another user's process.
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(recorded.pid)
        if abs(process.create_time() - recorded.started) <= SAME_START_S:
            process.send_signal(recorded.stop_signal)
            wait_gone([process], within_s, give_up)
            kill_group(recorded.pid)
            return True
    return False
