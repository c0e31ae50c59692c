"""The local Mosquitto, run with the one ``mosquitto.conf`` that compose uses too."""

import shutil
import subprocess
from pathlib import Path

from broker.mosquitto_conf import Layout, acl_text, conf_text, find_plugin
from local.services import ports
from local.services.account import Account, give, make_passable, make_private
from local.services.kept_files import Damaged
from local.services.server import LocalServer
from local.supervision.processes import spawn, tail

# /usr/sbin is not on a normal user's PATH in Debian.
BINARY_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/opt/mosquitto/sbin")
HOW_TO_INSTALL = """Mosquitto with its dynamic-security plugin was not found. Install it with
  apt-get install mosquitto mosquitto-clients     (Debian, Ubuntu)
  dnf install mosquitto                           (Fedora)
  brew install mosquitto                          (macOS)"""


class MosquittoMissing(Exception):
    """Mosquitto is not installed on this machine; the error's text says how to install it."""

    def __init__(self) -> None:
        super().__init__(HOW_TO_INSTALL)


class Mosquitto(LocalServer):
    """One broker on one folder and port.

    The caller writes ``plugin_file`` (users and roles) before the start; from then on the broker owns it and
    rewrites it with every change made over MQTT. A stop saves sessions, queues and retained messages; a kill
    loses the changes of about the last two seconds.
    """

    name = "Mosquitto"
    ready_within_s = 15.0

    def __init__(self, home: Path, *, port: int, account: Account | None, log: Path) -> None:
        super().__init__(log)
        self.binary, plugin = find_mosquitto()
        self.folder = make_passable(home / "mosquitto")
        self.state = make_private(self.folder / "state", account)
        self.layout = Layout(self.folder, self.state, plugin, f"{port} {ports.LOOPBACK}")
        self.account = account
        self.port = port
        self.plugin_file = self.layout.plugin_file
        self._logged_before: int | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{ports.LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration, and give the broker the files that it must read and rewrite."""
        self.layout.acl_file.write_text(acl_text())
        self.layout.conf_file.write_text(conf_text(self.layout))
        for file in (self.layout.acl_file, self.layout.conf_file, self.plugin_file):
            give(file, self.account)

    @property
    def store(self) -> Path:
        """Return the path of its store: sessions, their queues, and retained messages."""
        return self.state / "mosquitto.db"

    def spawn(self) -> subprocess.Popen[bytes]:
        self._logged_before = self.log.stat().st_size if self.log.exists() else 0
        return spawn(
            [self.binary, "-c", self.layout.conf_file],
            log=self.log,
            cwd=self.state,
            account=self.account,
        )

    def accepts(self) -> bool:
        return ports.answers(self.port)

    def failure(self, exit_code: int) -> Exception:
        if self.refused_its_store():
            return Damaged(self.store, "without it sessions and what they queued are lost")
        return super().failure(exit_code)

    def refused_its_store(self) -> bool:
        """Return whether it has logged that it cannot read its store since the last start."""
        if self._logged_before is None or not self.log.exists():
            return False
        is_longer = self.log.stat().st_size > self._logged_before
        return is_longer and "Couldn't open database" in tail(self.log, lines=3)

    def put_store_aside(self) -> Path:
        """Keep the unreadable store under another name for inspection; return its path."""
        return self.store.replace(self.store.with_name(f"{self.store.name}.damaged"))


def find_mosquitto() -> tuple[Path, Path]:
    """Return the broker's binary and its dynamic-security plugin. Raises `MosquittoMissing`."""
    binary = shutil.which("mosquitto") or next(
        (str(path) for folder in BINARY_FOLDERS if (path := Path(folder, "mosquitto")).is_file()), None
    )
    plugin = find_plugin()
    if binary is None or plugin is None:
        raise MosquittoMissing
    return Path(binary), plugin
