"""What all servers on this machine share: how they start, stop and die."""

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from local.supervision.processes import GiveUp, ServiceFailed, end, never, wait_gone, wait_until


class LocalServer(ABC):
    """``start``, ``stop`` and ``kill`` it; or ``prepare`` it once and let a supervisor call ``spawn``."""

    name: str
    ready_within_s: float
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    stop_within_s: float = 5.0

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None: ...

    @abstractmethod
    def spawn(self) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def accepts(self) -> bool:
        """Return whether it accepts connections."""

    def failure(self, exit_code: int) -> Exception:
        """Return the error for a server that ended before it accepted connections."""
        return ServiceFailed(self.name, f"ended with {exit_code}", self.log)

    def wait_ready(
        self, process: subprocess.Popen[bytes], within_s: float | None = None, give_up: GiveUp = never
    ) -> None:
        """Wait until it accepts connections. Raises `ServiceFailed`, `Damaged` or `AskedToStop`."""
        within_s = self.ready_within_s if within_s is None else within_s
        if not wait_until(lambda: self.accepts() or process.poll() is not None, within_s, give_up):
            raise ServiceFailed(self.name, f"did not answer within {within_s:.0f} s", self.log)
        if process.poll() is not None:
            raise self.failure(process.returncode)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.prepare()
        self.process = self.spawn()
        try:
            self.wait_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut it down in order. Does nothing when it does not run."""
        if self.process is not None:
            end(self.process, self.stop_signals, self.stop_within_s)
            self.process = None

    def kill(self) -> None:
        """Kill it as ``kill -9`` or a power cut would; return when its last process is gone."""
        if self.process is None:
            return
        children: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        self.process = None
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        wait_gone(children, within_s=5)

    def restart(self) -> None:
        self.stop()
        self.start()
