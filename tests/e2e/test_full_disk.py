"""`milepost up` on a file system that fills: it goes on, says why, and is whole again once there is room."""

import json
import signal
from collections.abc import Iterator

import psutil
import pytest

from broker.access_control.control import Control
from broker.connection import BrokerLogin
from broker.link import BrokerAway, BrokerLink
from core.identities import PROVISIONER_USER, mqtt_secret
from local.services.account import remove_home
from local.services.kept_files import read_variables
from local.supervision.processes import end
from tests.e2e.test_up import READY, UpRun, run_command
from tests.support.small_disk import WHY_NOT, SmallDisk, can_mount, small_disk
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_mount(), reason=WHY_NOT)]
MEGABYTES = 400  # PostgreSQL's binaries are copied there when its account cannot reach their own folder


class RunOnSmallDisk(UpRun):
    def __init__(self, disk: SmallDisk) -> None:
        super().__init__(disk.folder, "--no-demo")
        self.disk = disk

    @property
    def plugin_file_is_json(self) -> bool:
        try:
            json.loads((self.folder / "data/services/mosquitto/state/dynamic-security.json").read_bytes())
        except ValueError:
            return False
        return True

    def login(self, user: str) -> BrokerLogin:
        key = read_variables(self.folder / "data" / "secrets.env")["MILEPOST_MQTT_KEY"]
        return BrokerLogin("127.0.0.1", self.mqtt_port, user, mqtt_secret(key, user))

    def lets_in(self, user: str) -> bool:
        try:
            with BrokerLink(self.login(user)):
                return True
        except BrokerAway:
            return False

    def running(self) -> dict[str, int]:
        """What it runs by now, asked of the kernel: the record may be impossible to write."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                words = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            name = (
                words[3] if words[1:3] == ["-m", "milepost"] else words[0].rpartition("/")[2] if words else ""
            )
            found[name] = child.pid
        return found

    def recorded(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.children().items()}

    def is_well(self) -> bool:
        try:
            return self.is_ready() and self.recorded() == self.running()
        except (OSError, ValueError, psutil.Error):
            return False


@pytest.fixture
def run() -> Iterator[RunOnSmallDisk]:
    with small_disk(MEGABYTES) as disk:
        run = RunOnSmallDisk(disk)
        try:
            run.wait_for(READY)
            yield run
        finally:
            end(run.process, (signal.SIGTERM,), within_s=12)
            remove_home(disk.folder / "data")


def test_a_full_disk_ends_nothing_and_all_comes_back(run: RunOnSmallDisk) -> None:
    before = run.running()
    run.disk.fill()
    for name in ("ingest", "postgres"):
        psutil.Process(before[name]).kill()
    wait_until(lambda: says_why_or_ends(run), timeout=60, what="it says why, or all has ended")
    assert run.process.poll() is None, "it ended itself"
    run.disk.free_space()
    wait_until(run.is_well, timeout=90, what="the API answers, and what runs is recorded", poll=0.2)
    assert run.running()["ingest"] != before["ingest"]


def test_a_broker_whose_users_a_full_disk_destroyed_lets_them_in_again(run: RunOnSmallDisk) -> None:
    run_command(run.folder, "company", "add", "acme", "--manager-email", "boss@acme.example")
    added = run_command(run.folder, "device", "add", "van 1", "--company", "acme")
    device = added.split("user", 1)[1].split()[0]
    wait_until(lambda: run.lets_in(device), what="the device's user is on the broker")
    wait_until(lambda: damages_its_users(run), what="the broker leaves a truncated file")
    psutil.Process(run.running()["mosquitto"]).kill()
    run.disk.free_space()
    wait_until(lambda: run.lets_in(device), timeout=60, what="the device may log in again", poll=0.2)
    assert run.plugin_file_is_json
    assert "written anew from the database" in run.output()


def says_why_or_ends(run: RunOnSmallDisk) -> bool:
    """Fill the disk again: what a killed PostgreSQL held for the moment is free once it has restarted."""
    run.disk.fill()
    return run.process.poll() is not None or "No space left on device; tried again" in run.output()


def damages_its_users(run: RunOnSmallDisk) -> bool:
    """Fill the disk, then make the broker empty its file and write it again, longer than before."""
    run.disk.fill()
    with Control(run.login(PROVISIONER_USER)) as control:
        control.change({"command": "deleteRole", "rolename": "addition"})
        control.change({"command": "createRole", "rolename": "addition", "textdescription": "x" * 100_000})
    return not run.plugin_file_is_json
