"""Start named processes, restart those that die, and stop all in the reverse order.

Invariants: everything happens in the caller's thread. It sleeps on a pipe to which every signal writes
(SIGCHLD too). A stop signal is only noted, so that a second one does no harm.

Errors: a full disk, or any other error that keeps a process from being restarted, is logged and retried: the
supervisor ends only on request.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from core.backoff import Backoff
from local.supervision.log_files import LARGE_LOG_BYTES, rotate_if_large
from local.supervision.processes import NotYet, end, kill_group, tail
from local.supervision.run_state import Started, clear_record, record

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_WITHIN_S = 9.0
RESERVE_S = 0.8  # what a hanging process must leave to each one still to be stopped
STEADY_S = 10.0  # a process that ran this long restarts without a growing back-off
POLL_S = 0.1
MAINTAIN_EVERY_S = 1.0  # how often log sizes are checked and an unwritten record is retried


@dataclass
class Child:
    """``spawn`` starts it, each time anew; ``log`` is its output file."""

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    log: Path
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    backoff: Backoff = field(default_factory=Backoff)


class Supervisor:
    """A context manager for a program that ends with it: no process that it started outlives it."""

    def __init__(
        self,
        data_dir: Path,
        say: Callable[[str], None],
        stop_within_s: float = STOP_WITHIN_S,
        log_bytes: int = LARGE_LOG_BYTES,
    ) -> None:
        self.stopping = False
        self._asked_at: float | None = None
        self._stop_within_s = stop_within_s
        self._log_bytes = log_bytes
        self._maintain_at = 0.0
        self._is_recorded = True
        self._data_dir = data_dir
        self._say = say
        self._children: list[Child] = []
        self._started: dict[str, Started] = {}

    def __enter__(self) -> "Supervisor":
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in STOP_SIGNALS:
            # Under nohup, SIGHUP must stay ignored.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # A repeated Ctrl-C during the exit would only spoil the exit code.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def start(self, child: Child) -> subprocess.Popen[bytes]:
        """Start it now and keep it running until the end."""
        self._children.append(child)
        return self._spawn(child)

    def run(self, until: Callable[[], object] | None = None, within_s: float | None = None) -> bool:
        """Supervise the children until ``until()`` is true, the time is over, or a stop is requested.

        Return True only in the first case.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        while not self.stopping:
            self._restart_ended()
            self._maintain()
            if until is not None and until():
                return True
            if deadline is not None and time.monotonic() > deadline:
                return False
            self._sleep(MAINTAIN_EVERY_S if until is None else POLL_S)
        return False

    def stop(self) -> None:
        """Stop all, last started first, within ``stop_within_s`` of the request."""
        self.stopping = True
        deadline = (self._asked_at or time.monotonic()) + self._stop_within_s
        while self._children:
            child = self._children.pop()
            if child.process is not None:
                left = deadline - time.monotonic() - RESERVE_S * len(self._children)
                ended = end(child.process, child.stop_signals, max(left, RESERVE_S / 2))
                self._say(f"{child.name} stopped" if ended else f"{child.name} did not stop and was killed")
        clear_record(self._data_dir)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping, self._asked_at = True, time.monotonic()
            self._say("stopping …")

    def _restart_ended(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._schedule_restart(child, child.process)
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._restart(child)

    def _restart(self, child: Child) -> None:
        try:
            self._spawn(child)
        except (OSError, subprocess.SubprocessError, NotYet) as error:
            wait_s = child.backoff.next()
            child.restart_at = time.monotonic() + wait_s
            self._say(f"{child.name} cannot be started: {error}; tried again in {wait_s:.1f} s")
        else:
            self._say(f"{child.name} restarted")

    def _maintain(self) -> None:
        """Do the regular maintenance: logs and the record."""
        if time.monotonic() < self._maintain_at:
            return
        self._maintain_at = time.monotonic() + MAINTAIN_EVERY_S
        if not self._is_recorded:
            self._record()
        for child in self._children:
            with suppress(OSError):  # truncated all the same
                rotate_if_large(child.log, self._log_bytes)

    def _record(self) -> None:
        """Record the processes to end if we are killed; on a full disk, as soon as there is space."""
        try:
            record(self._data_dir, list(self._started.values()))
        except OSError as error:
            if self._is_recorded:
                self._say(f"{self._data_dir} cannot be written: {error.strerror}; tried again every second")
            self._is_recorded = False
        else:
            self._is_recorded = True

    def _schedule_restart(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        kill_group(process.pid)  # its own children
        if time.monotonic() - child.started_at >= STEADY_S:
            child.backoff.reset()
        wait_s = child.backoff.next()
        child.process, child.restart_at = None, time.monotonic() + wait_s
        last_words = tail(child.log, lines=1)
        self._say(f"{child.name} {_how(process.returncode)}; starts again in {wait_s:.1f} s ({child.log})")
        if last_words:
            self._say(f"  its last words: {last_words[:200]}")

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        process = child.spawn()
        child.process, child.restart_at, child.started_at = process, None, time.monotonic()
        self._started[child.name] = Started.now(child.name, process.pid, child.stop_signals[0])
        self._record()
        return process

    def _sleep(self, at_most_s: float) -> None:
        """Sleep until a signal arrives or the next restart is due."""
        due = [
            child.restart_at - time.monotonic() for child in self._children if child.restart_at is not None
        ]
        if select.select([self._wake_read], [], [], max(min([at_most_s, *due]), 0.0))[0]:
            os.read(self._wake_read, 4096)


def _how(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with {exit_code}"
