"""What a data folder remembers of its run: who has it, and which processes to end if we are killed."""

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
PIDS = range(2, 2**31)  # never 0 or 1: a signal to those groups reaches us, or everybody
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


def forget(data_dir: Path) -> None:
    """Record that nothing runs any more; on a full disk the record goes. Raises `OSError`."""
    try:
        record(data_dir, [])
    except OSError as error:
        if error.errno not in FULL:
            raise
        (data_dir / RECORD).unlink(missing_ok=True)


def end_leftovers(
    data_dir: Path, say: Callable[[str], None], *, within_s: float = 3.0, give_up: GiveUp = never
) -> None:
    """End what a run that was killed left behind, last started first; hastily once ``give_up()``."""
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
    """Raises `ValueError` for anything that `record` would not write."""
    try:
        recorded = msgspec.json.decode(path.read_bytes(), type=list[Started])
    except FileNotFoundError:
        return []
    for process in recorded:
        if process.pid not in PIDS:
            raise ValueError(f"{process.pid} is nobody's number")
        Signals(process.stop_signal)
    return recorded


def _end(recorded: Started, within_s: float, give_up: GiveUp) -> bool:
    # AccessDenied: then it is somebody else's, and the number was given anew.
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(recorded.pid)
        if abs(process.create_time() - recorded.started) <= SAME_START_S:
            process.send_signal(recorded.stop_signal)
            wait_gone([process], within_s, give_up)
            kill_group(recorded.pid)
            return True
    return False
