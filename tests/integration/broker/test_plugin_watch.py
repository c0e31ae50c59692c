"""`milepost broker watch` beside a broker that `start.sh` starts, as in docker compose."""

import errno
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.orm import Session, sessionmaker

from broker.access_control import plugin_file
from broker.access_control.plugin_watch import CHECKED, PluginWatch
from broker.connection import BrokerLogin
from broker.link import BrokerAway, BrokerLink
from core.identities import PROVISIONER_USER, mqtt_secret
from local.services.ports import answers
from local.supervision.processes import end, spawn
from tests.support import factories
from tests.support.services.local import LocalMosquitto, local_mosquitto
from tests.support.services.settings import PROJECT
from tests.support.waiting import wait_until

KEY = "0123456789abcdef0123456789abcdef"
TRUNCATED = b'{"roles": [{"rolename": "device-0"'
START = (PROJECT / "broker" / "start.sh").read_text()


class Container:
    """A broker whose start is `start.sh`, as its own account; Docker would start it again after its end."""

    def __init__(self, mosquitto: LocalMosquitto, sessions: sessionmaker[Session]) -> None:
        self.mosquitto = mosquitto
        self.path = mosquitto.plugin_file
        self._sessions = sessions
        with sessions() as session:
            self.device = factories.device(session, factories.company(session)).id
            session.commit()
        self.write()
        mosquitto.prepare()

    def write(self) -> None:
        with self._sessions() as session:
            plugin_file.write(self.path, session, KEY)

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        folder = self.mosquitto.folder
        command = ["sh", "-c", START, "start.sh", str(self.path.parent), str(self.mosquitto.binary)]
        env = {"PATH": "/usr/bin:/bin", **variables}
        self.mosquitto.process = spawn(
            [*command, "-c", str(folder / "mosquitto.conf")],
            log=self.mosquitto.log,
            cwd=self.path.parent,
            env=env,
            account=self.mosquitto.account,
        )
        return self.mosquitto.process

    def watch(self, write: Callable[[], None] | None = None) -> PluginWatch:
        return PluginWatch(self.path, write or self.write, self._login(PROVISIONER_USER))

    def lets_in(self, user: str) -> bool:
        try:
            with BrokerLink(self._login(user)):
                return True
        except BrokerAway:
            return False

    def _login(self, user: str) -> BrokerLogin:
        return BrokerLogin("127.0.0.1", self.mosquitto.port, user, mqtt_secret(KEY, user))


@pytest.fixture
def container(sessions: sessionmaker[Session]) -> Iterator[Container]:
    with local_mosquitto() as mosquitto:
        yield Container(mosquitto, sessions)


@pytest.fixture
def watched(container: Container) -> Iterator[Container]:
    stop = threading.Event()
    thread = threading.Thread(target=container.watch().run, args=(stop,))
    thread.start()
    yield container
    stop.set()
    thread.join()


@pytest.mark.parametrize("content", [None, b"", TRUNCATED])
def test_a_restart_brings_a_locked_out_broker_back(watched: Container, content: bytes | None) -> None:
    watched.path.unlink() if content is None else watched.path.write_bytes(content)
    watched.start()
    wait_until(lambda: watched.lets_in(watched.device), timeout=30, what="the device may log in")
    assert plugin_file.damage(watched.path) is None


def test_a_running_broker_writes_a_damaged_file_again(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    container.start(PATIENCE_S="0")
    wait_until(lambda: answers(container.mosquitto.port))
    container.path.write_bytes(TRUNCATED)
    container.watch(write=needs_no_database).check()
    assert plugin_file.damage(container.path) is None
    assert "alert=broker_users_damaged" in caplog.text
    assert container.lets_in(container.device)


def test_a_broker_without_users_is_logged_and_repaired_at_restart(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    container.path.write_bytes(TRUNCATED)
    process = container.mosquitto.process = container.mosquitto.spawn()
    wait_until(lambda: answers(container.mosquitto.port))
    assert not container.lets_in(container.device)
    container.watch().check()
    assert "alert=broker_users_damaged" in caplog.text
    assert not container.lets_in(container.device), "it never reads its file again"
    end(process)
    container.start(PATIENCE_S="0")
    wait_until(lambda: container.lets_in(container.device), what="the device may log in")


def test_a_file_that_cannot_be_written_is_not_called_whole(container: Container) -> None:
    checked = container.path.with_name(CHECKED)
    container.watch().check()
    assert checked.exists()
    container.path.write_bytes(TRUNCATED)
    with pytest.raises(OSError, match="No space left"):
        container.watch(write=find_disk_full).check()
    assert not checked.exists()
    container.watch().check()
    assert checked.exists()


def test_only_a_damaged_file_keeps_an_unwatched_broker_from_starting(container: Container) -> None:
    whole = container.path.read_bytes()
    container.path.write_bytes(TRUNCATED)
    assert container.start(PATIENCE_S="0").wait(10) == 1
    assert "has not mended it" in container.mosquitto.log.read_text()
    container.path.write_bytes(whole)
    container.start(PATIENCE_S="0")
    wait_until(lambda: container.lets_in(container.device), what="the device may log in")


def needs_no_database() -> None:
    raise AssertionError("a running broker knows its users")


def find_disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
