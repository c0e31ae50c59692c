"""`milepost broker config`: the files it writes start a Mosquitto that knows our users."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from broker.access_control.control import Control
from broker.connection import BrokerLogin
from core.identities import PROVISIONER_USER, mqtt_secret
from core.settings import Settings
from local.services.account import service_account
from local.services.mosquitto import MosquittoMissing, find_mosquitto
from local.services.ports import answers, free_port
from local.supervision.processes import end, spawn
from tests.support import factories
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until


class BrokerFolders:
    """Two folders as Debian's package has them: the configuration root's, the state Mosquitto's own."""

    def __init__(self, folder: Path) -> None:
        self.conf, self.state = folder / "etc", folder / "state"
        self.account = service_account(folder)
        self.port = free_port()
        for made in (self.conf, self.state):
            made.mkdir()
        if self.account is not None:
            os.chown(self.state, self.account.uid, self.account.gid)

    @property
    def arguments(self) -> tuple[str, ...]:
        listen = f"{self.port} 127.0.0.1"
        return ("broker", "config", str(self.conf), "--state", str(self.state), "--listen", listen)


@pytest.fixture
def place() -> Iterator[BrokerFolders]:
    """Not below pytest's folders, through which another account does not get."""
    with tempfile.TemporaryDirectory(prefix="milepost-broker-") as folder:
        Path(folder).chmod(0o711)
        yield BrokerFolders(Path(folder))


@contextmanager
def running(place: BrokerFolders) -> Iterator[None]:
    """Mosquitto as its service starts it: from the file alone."""
    try:
        binary, _ = find_mosquitto()
    except MosquittoMissing:
        pytest.skip("this machine has no Mosquitto: the services run in containers")
    log = place.conf.parent / "mosquitto.log"
    process = spawn(
        [binary, "-c", place.conf / "mosquitto.conf"], log=log, cwd=Path("/"), account=place.account
    )
    try:
        wait_until(lambda: answers(place.port) or process.poll() is not None, what="Mosquitto answers")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        end(process)


def test_a_mosquitto_runs_from_what_it_writes_and_knows_our_users(
    processes: Processes, session: Session, settings: Settings, place: BrokerFolders
) -> None:
    company = factories.company(session, slug="acme")
    device = factories.device(session, company)
    session.commit()
    printed = _done(processes, *place.arguments)
    assert f"mosquitto -c {place.conf / 'mosquitto.conf'}" in printed
    secret = mqtt_secret(settings.mqtt_key.get_secret_value(), PROVISIONER_USER)
    with running(place), Control(BrokerLogin("127.0.0.1", place.port, PROVISIONER_USER, secret)) as control:
        assert device.id in str(control.send({"command": "listClients"}))


def test_again_it_changes_nothing(processes: Processes, place: BrokerFolders) -> None:
    _done(processes, *place.arguments)
    before = {path: path.read_bytes() for path in (*place.conf.iterdir(), *place.state.iterdir())}
    assert "left as it is" in _done(processes, *place.arguments)
    assert {path: path.read_bytes() for path in (*place.conf.iterdir(), *place.state.iterdir())} == before


def test_another_configuration_is_kept_and_put_aside_on_request(
    processes: Processes, place: BrokerFolders
) -> None:
    conf = place.conf / "mosquitto.conf"
    conf.write_text("# Debian's own\n")
    refused = processes.start(*place.arguments)
    assert refused.wait(30) == 1
    assert f"{conf} is there already" in refused.output()
    assert conf.read_text() == "# Debian's own\n"
    assert list(place.state.iterdir()) == []
    _done(processes, *place.arguments, "--replace")
    assert conf.with_name("mosquitto.conf.old").read_text() == "# Debian's own\n"
    assert f"persistence_location {place.state}/\n" in conf.read_text()
    conf.write_text("# mine\n")
    assert "the one before is" in _done(processes, *place.arguments, "--replace")
    assert {file.read_text() for file in place.conf.glob("*.old*")} == {"# Debian's own\n", "# mine\n"}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--listen", "1883\nallow_anonymous true", "--listen must be a port"),
        ("--listen", "70000", "--listen must be a port"),
        ("--state", "/no/such/folder", "/no/such/folder is no folder"),
        ("--plugin", "/no/such/plugin.so", "/no/such/plugin.so was not found"),
    ],
)
def test_a_wrong_option_is_one_line(
    processes: Processes, place: BrokerFolders, option: str, value: str, message: str
) -> None:
    refused = processes.start(*place.arguments, option, value)
    assert refused.wait(30) == 1
    (line,) = refused.output().splitlines()
    assert message in line
    assert list(place.conf.iterdir()) == []


def _done(processes: Processes, *arguments: str) -> str:
    process = processes.start(*arguments)
    assert process.wait(30) == 0, process.output()
    return process.output()
