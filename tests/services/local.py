"""Both services as processes of this machine, on free ports, in a folder that is removed at the end."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.account import make_passable, remove_home, service_account, service_home
from local.mosquitto import Mosquitto
from local.ports import free_port
from local.postgres import THROWAWAY_OPTIONS, Postgres


class LocalMosquitto(Mosquitto):
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
            server.stop()
            shutil.rmtree(home)


@contextmanager
def local_services() -> Iterator[LocalServices]:
    folder = Path(tempfile.mkdtemp(prefix="milepost-tests-"))
    folder.chmod(0o711)  # the services' account must get through; what is inside is closed
    try:
        yield LocalServices(folder)
    finally:
        remove_home(folder)
        shutil.rmtree(folder)
