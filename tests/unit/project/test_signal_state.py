"""Tests under ``nohup``, in the background of a shell, or with blocked signals: their children hear all."""

import os
import signal
import subprocess
import sys

from tests.support.services.settings import PROJECT

STATE = """
import signal
names = ("SIGHUP", "SIGINT", "SIGTERM", "SIGCHLD")
print([name for name in names if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN],
      list(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
"""
TESTS = f"""
import os, signal, subprocess, sys
from tests.support.services.signals import start_children_afresh
start_children_afresh()
os.kill(os.getpid(), signal.SIGHUP)
print("still there", flush=True)
subprocess.run([sys.executable, "-c", {STATE!r}], check=True)
"""


def _started_badly(code: str) -> list[str]:
    """What a program says that was started with signals ignored and blocked."""

    def ignore_and_block() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, env=env, preexec_fn=ignore_and_block, capture_output=True, text=True, check=False
    )
    return run.stdout.splitlines()


def test_ignored_and_blocked_signals_are_inherited() -> None:
    (state,) = _started_badly(STATE)
    assert state.startswith("['SIGHUP', 'SIGINT', 'SIGCHLD'] [<Signals.SIGTERM")


def test_children_of_the_tests_begin_afresh() -> None:
    assert _started_badly(TESTS) == ["still there", "[] []"]
