"""The start of the local broker, on files that a full disk damaged."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from broker.access_control import plugin_file
from local.services.broker_start import BrokerStart
from local.services.mosquitto import Mosquitto
from local.services.ports import answers
from local.supervision.processes import NotYet
from tests.support.services.local import LocalMosquitto, local_mosquitto
from tests.support.waiting import wait_until

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def mosquitto() -> Iterator[LocalMosquitto]:
    with local_mosquitto() as server:
        yield server


class Start:
    """A start, its output, and the writer of the file of users."""

    def __init__(self, mosquitto: Mosquitto, session: Session) -> None:
        self.mosquitto = mosquitto
        self.printed: list[str] = []
        self.error: OSError | None = None
        self._session = session
        self.start = BrokerStart(mosquitto, self.write, self.printed.append)

    def write(self) -> None:
        if self.error is not None:
            raise self.error
        plugin_file.write(self.mosquitto.plugin_file, self._session, KEY)

    def is_spawned(self) -> bool:
        """As the supervisor tries it, again and again."""
        try:
            self.mosquitto.process = self.start.spawn()
        except NotYet as not_yet:
            self.printed.append(str(not_yet))
            return False
        return True


@pytest.fixture
def start(mosquitto: LocalMosquitto, session: Session) -> Start:
    start = Start(mosquitto, session)
    start.write()
    mosquitto.prepare()
    return start


@pytest.mark.parametrize("content", [None, b"", b'{"roles": [', b"[]", b'{"roles": [], "clients": []}'])
def test_a_damaged_file_of_users_is_made_anew_first(start: Start, content: bytes | None) -> None:
    path = start.mosquitto.plugin_file
    path.unlink() if content is None else path.write_bytes(content)
    start.error = OSError(28, "No space left on device")
    wait_until(lambda: start.is_spawned() or "its users cannot be written" in start.printed[-1])
    assert start.mosquitto.process is None
    start.error = None
    wait_until(start.is_spawned)
    assert plugin_file.damage(path) is None
    wait_until(lambda: answers(start.mosquitto.port), what="the broker listens")


def test_sessions_that_cannot_be_read_are_put_aside_by_a_restart(start: Start) -> None:
    start.mosquitto.store.write_bytes(b"not a store")
    assert start.is_spawned()
    assert start.mosquitto.process is not None
    assert start.mosquitto.process.wait(10) != 0
    assert start.is_spawned()
    wait_until(lambda: answers(start.mosquitto.port), what="the broker listens")
    assert start.mosquitto.store.with_name("mosquitto.db.damaged").read_bytes() == b"not a store"
    assert "mosquitto.db.damaged" in start.printed[-1]
