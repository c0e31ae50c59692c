"""Start and end processes so that none is left behind.

Each gets a session of its own: Ctrl-C in the terminal reaches only us, and a signal to its group reaches all
its children. On Linux the kernel also signals it when we die, even by SIGKILL.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from local.services.account import Account

PR_SET_PDEATHSIG = 1
POLL_S = 0.02
# Loaded here and not between fork and exec, where another thread's lock might be held for ever.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServiceFailed(Exception):
    """A process did not start; the error's text ends with the last lines of its log."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        super().__init__(f"{name} {what}. Its log ({log}) ends with:\n{tail(log)}")


class NotYet(Exception):
    """A process must not be started now; the error's text says why. Its supervisor tries again."""


class AskedToStop(Exception):
    """The user asked us to stop while we waited for a service to start."""


GiveUp = Callable[[], bool]


def never() -> bool:
    """Never give up."""
    return False


def wait_until(is_done: Callable[[], bool], within_s: float, give_up: GiveUp = never) -> bool:
    """Wait for ``is_done``; return False after ``within_s``. Raises `AskedToStop` on ``give_up()``."""
    deadline = time.monotonic() + within_s
    while not is_done():
        if give_up():
            raise AskedToStop
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start ``command`` with both outputs appended to ``log``. It receives ``death_signal`` if we die.

    The kernel refers to the death of the calling thread, so only the main thread requests this signal.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            start_new_session=True,
            umask=0o077,
            preexec_fn=_die_with_us(death_signal),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )


def _die_with_us(death_signal: signal.Signals) -> Callable[[], None] | None:
    libc, parent = _LIBC, os.getpid()
    if libc is None or threading.current_thread() is not threading.main_thread():
        return None

    def ask_the_kernel() -> None:
        # Set after the change of user, which would clear it. Our parent may have died before it was set.
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


def end(
    process: subprocess.Popen[bytes],
    signals: Sequence[signal.Signals] = (signal.SIGTERM,),
    within_s: float = 5.0,
) -> bool:
    """Send each signal in turn, then kill the group; return whether a signal was enough. Always reaps."""
    for number in signals:
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(within_s / len(signals))
    asked = process.poll() is not None
    kill_group(process.pid)
    process.wait()
    return asked


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process ``pid`` and all its descendants in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_gone(processes: Sequence[psutil.Process], within_s: float, give_up: GiveUp = never) -> bool:
    """Wait for the processes; return False on the time-out or once ``give_up()``.

    A zombie counts as gone: only its parent, which need not be us, can reap it.
    """
    try:
        return wait_until(lambda: not any(map(is_alive, processes)), within_s, give_up)
    except AskedToStop:
        return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log that may be huge, missing or unreadable."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def connections_to(pid: int, port: int) -> int:
    """Return the number of a process's connections to a port; 0 once it has ended."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return 0
    return sum(one.status == psutil.CONN_ESTABLISHED and one.raddr.port == port for one in found)
