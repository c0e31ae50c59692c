"""Both services as processes of this machine, on free ports, in a folder that is removed at the end."""

import getpass
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from local.services.account import make_passable, remove_home, service_account, service_home
from local.services.mosquitto import Mosquitto
from local.services.ports import free_port
from local.services.postgres import THROWAWAY_OPTIONS, Postgres

IN_MEMORY = Path("/dev/shm")  # a database a test is a thousand files: 0.02 s there, 0.2 s on a disk
NEEDED_BYTES = 4 * 1024**3
PREFIX = "milepost-tests-"


class LocalMosquitto(Mosquitto):
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def present_plugin_file(self) -> Path:
        return self.plugin_file

    def lose_data(self) -> None:
        for file in self.state.glob("mosquitto.db*"):
            file.unlink()


class LocalServices:
    """Makes servers; each has a folder and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._account = service_account(folder)
        self._home = service_home(folder, self._account)
        self._numbers = itertools.count(1)

    @contextmanager
    def postgres(self) -> Iterator[Postgres]:
        home = make_passable(self._home / f"postgres-{next(self._numbers)}")
        log = self._folder / f"{home.name}.log"
        server = Postgres(home, account=self._account, log=log, options=THROWAWAY_OPTIONS)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(home)

    @contextmanager
    def mosquitto(self) -> Iterator[LocalMosquitto]:
        """Not started yet: its plugin's file is still to be written."""
        home = make_passable(self._home / f"mosquitto-{next(self._numbers)}")
        log = self._folder / f"{home.name}.log"
        server = LocalMosquitto(home, port=free_port(), account=self._account, log=log)
        try:
            yield server
        finally:
            server.kill()
            shutil.rmtree(home)


@contextmanager
def local_services() -> Iterator[LocalServices]:
    parent = data_parent()
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    folder.chmod(0o711)  # the services' account must get through; what is inside is closed
    try:
        yield LocalServices(folder)
    finally:
        remove_home(folder)
        shutil.rmtree(folder)


@contextmanager
def local_mosquitto() -> Iterator[LocalMosquitto]:
    """One broker of this machine, also where the other services are containers; not started yet."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)
    try:
        with LocalServices(folder).mosquitto() as server:
            yield server
    finally:
        remove_home(folder)
        shutil.rmtree(folder)


def data_parent() -> Path:
    """Where the services' data lie: in memory when there is room and programs may run there."""
    try:
        shm = os.statvfs(IN_MEMORY)
    except OSError:
        return Path(tempfile.gettempdir())
    is_large_enough = min(shm.f_bavail * shm.f_frsize, psutil.virtual_memory().available) > NEEDED_BYTES
    return IN_MEMORY if is_large_enough and not shm.f_flag & os.ST_NOEXEC else Path(tempfile.gettempdir())


def remove_leftovers(parent: Path) -> None:
    """What a run that was killed left behind: memory, perhaps."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and folder.owner() == getpass.getuser():
            remove_home(folder)
            shutil.rmtree(folder)
