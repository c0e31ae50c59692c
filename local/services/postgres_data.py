"""A PostgreSQL's data folder: make it, and end a server that an earlier run left on it."""

import contextlib
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

from local.services.account import Account, make_private
from local.supervision.processes import GiveUp, ServiceFailed, end, never, spawn, wait_gone, wait_until

INITDB_WITHIN_S = 120.0
# No variable is inherited: the caller's PGDATA, PGPORT or locale must not reach the server.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)  # a fast shutdown, then an immediate one
OPTIONS = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    "--auth=scram-sha-256",
)


def initialise(
    data: Path,
    initdb: Path,
    *,
    user: str,
    password_file: Path,
    account: Account | None,
    log: Path,
    more: Sequence[str] = (),
    give_up: GiveUp = never,
) -> None:
    """Run ``initdb`` beside the final path, then rename: an interrupted run leaves nothing half-made.

    Raises `ServiceFailed`; `AskedToStop` as soon as ``give_up()``.
    """
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private(unfinished, account)
    command: list[str | Path] = [
        initdb,
        "-D",
        unfinished,
        "-U",
        user,
        f"--pwfile={password_file}",
        *OPTIONS,
        *more,
    ]
    process = spawn(command, log=log, cwd=data.parent, env=ENVIRONMENT, account=account)
    try:
        if not wait_until(lambda: process.poll() is not None, INITDB_WITHIN_S, give_up):
            raise ServiceFailed("initdb", f"did not end within {INITDB_WITHIN_S:.0f} s", log)
    finally:
        end(process)
    if process.returncode != 0:
        raise ServiceFailed("initdb", f"ended with {process.returncode}", log)
    unfinished.rename(data)


def stop_leftover(data: Path, within_s: float = 10.0, give_up: GiveUp = never) -> None:
    """End a server that an earlier run left on this data folder; faster once ``give_up()``."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        leftover = psutil.Process(pid)
        if str(data) not in leftover.cmdline():
            return  # the pid is another process's by now; PostgreSQL removes the stale file itself
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return
    processes = [leftover, *leftover.children(recursive=True)]
    for number in (*STOP_SIGNALS, signal.SIGKILL):
        with contextlib.suppress(psutil.NoSuchProcess):
            leftover.send_signal(number)
        if wait_gone(processes, within_s / 2, give_up):
            return
