"""Milepost's own processes, started as an administrator would, for e2e tests."""

import itertools
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from core.settings import Settings
from local.supervision.processes import end, spawn
from tests.support.services.settings import environment
from tests.support.waiting import wait_until


class MilepostProcess:
    """One ``python -m milepost …``; ``log`` is where both its outputs go."""

    def __init__(self, arguments: tuple[str, ...], env: Mapping[str, str], log: Path) -> None:
        self.name = f"milepost {' '.join(arguments)}"
        self.log = log
        command = [sys.executable, "-m", "milepost", *arguments]
        self._process = spawn(command, log=log, cwd=log.parent, env=env, death_signal=signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, timeout: float = 15.0) -> None:
        """Until its output has ``text``; fails at once if it ends before."""

        def has_printed() -> bool:
            exit_code = self.exit_code  # asked first: it may say its last word in between
            if text in self.output():
                return True
            assert exit_code is None, f"{self.name} ended with {exit_code}:\n{self.output()}"
            return False

        wait_until(has_printed, timeout, f"{self.name} says {text!r}")

    def wait(self, timeout: float = 15.0) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """``kill -9`` to it and to all it started."""
        end(self._process, signals=())

    def terminate(self, timeout: float = 15.0) -> int:
        """SIGTERM; its exit code. Fails if it does not end by itself."""
        assert end(self._process, within_s=timeout), f"{self.name} ignored SIGTERM:\n{self.output()}"
        return self._process.wait()


class Processes:
    """Starts them with the test's settings and ends them with the test."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._numbers = itertools.count(1)
        self.started: list[MilepostProcess] = []

    def start(self, *arguments: str, settings: Settings | None = None, **extra_env: str) -> MilepostProcess:
        """``processes.start("ingest", "--worker", "0")``. It runs in a folder without a .env."""
        env = {**environment(settings or self._settings), **extra_env}
        log = self._folder / f"{next(self._numbers)}-{arguments[0]}.log"
        process = MilepostProcess(arguments, env, log)
        self.started.append(process)
        return process

    def end_all(self) -> None:
        for process in reversed(self.started):
            process.kill()
