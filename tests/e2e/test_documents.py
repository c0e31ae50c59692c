"""Every block of README and docs, typed into a shell beside a running `milepost up`."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.services.account import remove_home
from local.services.ports import free_port
from local.supervision.processes import end, spawn
from tests.support.project.documents import Block, blocks, user_documents
from tests.support.project.reader_shell import BlockFailed, ReaderShell, shows
from tests.support.services.settings import PROJECT
from tests.support.waiting import wait_until

DEMO_PASSWORD = "a reader's password"
PAGES_WITHOUT_WALK = {"README.md", "docs/start.md"}
SETTINGS_OF_PAGES = {
    "MILEPOST_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "MILEPOST_CORS_ORIGINS": "https://app.example.com",
}


class LocalMilepost:
    """A `milepost up` with the demo, in a folder and on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.http_port, self.mqtt_port = free_port(), free_port()
        self.env = {
            "MILEPOST_DATA_DIR": str(folder / "data"),
            "MILEPOST_HTTP_PORT": str(self.http_port),
            "MILEPOST_MQTT_PORT": str(self.mqtt_port),
            "MILEPOST_DEMO_PASSWORD": DEMO_PASSWORD,
        }
        self._log = folder / "up.log"
        command = [sys.executable, "-m", "milepost", "up"]
        env = {**os.environ, "PYTHONPATH": str(PROJECT), **self.env, **SETTINGS_OF_PAGES}
        self._process = spawn(command, log=self._log, cwd=folder, env=env)
        wait_until(lambda: self.is_up() or self._process.poll() is not None, 120, "milepost up to run")
        assert self.is_up(), self._log.read_text()

    def is_up(self) -> bool:
        return "Milepost runs." in self._log.read_text()

    def end(self) -> None:
        end(self._process, (signal.SIGTERM,), within_s=12)

    @property
    def texts(self) -> dict[str, str]:
        """Return what differs here from what the documents say."""
        return {
            "127.0.0.1:8000": f"127.0.0.1:{self.http_port}",
            "127.0.0.1:1883": f"127.0.0.1:{self.mqtt_port}",
            "127.0.0.1:9000": f"127.0.0.1:{free_port()}",
            "-p 1883": f"-p {self.mqtt_port}",
            "PASSWORD=…": f'PASSWORD="{DEMO_PASSWORD}"',
        }


@pytest.fixture(scope="module")
def milepost() -> Iterator[LocalMilepost]:
    with tempfile.TemporaryDirectory(prefix="milepost-tests-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the services' account passes through it
        running = LocalMilepost(folder)
        yield running
        running.end()
        remove_home(folder / "data")


@pytest.fixture
def shell(milepost: LocalMilepost, tmp_path: Path) -> Iterator[ReaderShell]:
    """A shell in a folder that looks like the clone; files that blocks write stay out of it."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "docs").symlink_to(PROJECT / "docs")
    shell = ReaderShell(tmp_path, milepost.env, milepost.texts)
    yield shell
    shell.close()


def runs(block: Block) -> bool:
    return block.language == "sh" and "not-run" not in block.marks


PAGES = [page for page in user_documents() if any(runs(block) for block in blocks(page))]


# A reader of the other pages has typed these two of README's blocks before.
WALK = [
    next(block for block in blocks("README.md") if runs(block) and text in block.text)
    for text in ("log_in()", "\nID=$(")
]


def test_the_pages_with_commands_are_found() -> None:
    assert {"README.md", "docs/start.md", "docs/webhooks.md", "docs/backup.md"} <= set(PAGES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_a_pages_commands_do_what_it_says(page: str, shell: ReaderShell) -> None:
    await_walk(shell)
    if page not in PAGES_WITHOUT_WALK:
        for block in WALK:
            shell.run(block.text)
    printed = ""
    for block in blocks(page):
        printed = follow(shell, block, printed)


def await_walk(shell: ReaderShell) -> None:
    """Wait until the demo has put the walk's delivery under way, again after a page has delivered it."""
    query = '"$API/deliveries/?status=in_transit&q=WALK-THROUGH" -H "Authorization: Bearer $TOKEN"'
    shell.run(f"({WALK[0].text}\nuntil curl -fsS {query} | grep -q '\"id\":'; do sleep 0.2; done)")


def follow(shell: ReaderShell, block: Block, printed: str) -> str:
    """Run or check one block; return the output of the last one that ran."""
    if "output" in block.marks:
        expected = shell.as_here(block.text)
        assert shows(expected, printed), f"{block.place} promises\n{expected}\nbut this came\n{printed}"
    elif "output-of-background" in block.marks:
        shell.await_background(block.text, timeout=60)
    elif "background" in block.marks:
        shell.run_in_background(block.text)
    elif runs(block):
        try:
            return shell.run(block.text)
        except BlockFailed as failed:
            pytest.fail(f"{block.place} failed:\n{block.text}\n{failed}")
    return printed
