"""Start the local broker only with a whole users file, and with a session store that it can read.

A full disk damages both (see `plugin_file`). The database is the source of truth for users; sessions
and their queues have no second copy, so an unreadable store is kept under another name.
"""

import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from broker.access_control import plugin_file
from local.services.mosquitto import Mosquitto
from local.supervision.processes import NotYet


class BrokerStart:
    """A supervisor calls ``spawn``; ``write`` recreates the users file from the database."""

    def __init__(self, mosquitto: Mosquitto, write: Callable[[], None], say: Callable[[str], None]) -> None:
        self._mosquitto = mosquitto
        self._write = write
        self._say = say
        self._writing: Future[None] | None = None

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it. Raises `OSError`, or `NotYet` while its users are being written or cannot be."""
        self._finish_writing()
        damage = plugin_file.damage(self._mosquitto.plugin_file)
        if damage is not None:
            self._begin_writing(damage)
        if self._mosquitto.refused_its_store():
            aside = self._mosquitto.put_store_aside()
            self._say(f"mosquitto could not read its sessions: they are in {aside}, it starts without")
        return self._mosquitto.spawn()

    def _begin_writing(self, damage: str) -> None:
        """Write on a thread: the supervisor must react to Ctrl-C even while the database does not answer."""
        self._say(f"{self._mosquitto.plugin_file} is damaged ({damage}): written anew from the database")
        thread = ThreadPoolExecutor(1)
        self._writing = thread.submit(self._write)
        thread.shutdown(wait=False)
        raise NotYet("its users are being written")

    def _finish_writing(self) -> None:
        if self._writing is None:
            return
        if not self._writing.done():
            raise NotYet("its users are being written")
        writing, self._writing = self._writing, None
        if (error := writing.exception()) is not None:
            raise NotYet(f"its users cannot be written: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
