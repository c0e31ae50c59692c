"""The local Mosquitto, run from the one ``mosquitto.conf`` that compose uses too."""

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from local import ports
from local.account import Account, give, make_passable, make_private
from local.kept_files import Damaged
from local.processes import GiveUp, ServiceFailed, end, never, spawn, tail, wait_answering

PROJECT = Path(__file__).parent.parent
CONF = PROJECT / "mosquitto.conf"
ACL = PROJECT / "broker" / "mosquitto.acl"
PLUGIN = "mosquitto_dynamic_security.so"
# /usr/sbin is not on a normal user's PATH in Debian.
BINARY_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/opt/mosquitto/sbin")
LIBRARY_FOLDERS = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/opt/homebrew/lib",
    "/opt/homebrew/opt/mosquitto/lib",
)
HOW_TO_INSTALL = """Mosquitto with its dynamic-security plugin was not found. Install it with
  apt-get install mosquitto mosquitto-clients     (Debian, Ubuntu)
  dnf install mosquitto                           (Fedora)
  brew install mosquitto                          (macOS)"""


class MosquittoMissing(Exception):
    """There is no Mosquitto on this machine; the message says how to get it."""

    def __init__(self) -> None:
        super().__init__(HOW_TO_INSTALL)


class Mosquitto:
    """One broker on one folder and port.

    The caller writes ``plugin_file`` (users and roles) before the start; from then on it is the broker's own,
    which rewrites it with every change made over MQTT.
    """

    def __init__(self, home: Path, *, port: int, account: Account | None, log: Path) -> None:
        self.binary, self.plugin = find_mosquitto()
        self.folder = make_passable(home / "mosquitto")
        self.state = make_private(self.folder / "state", account)
        self.account = account
        self.port = port
        self.log = log
        self.plugin_file = self.state / "dynamic-security.json"
        self.process: subprocess.Popen[bytes] | None = None
        self._logged_before: int | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{ports.LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write its configuration, and hand it over what it must be able to read and rewrite."""
        acl_file = self.folder / "mosquitto.acl"
        acl_file.write_text(ACL.read_text())
        replacements = {
            "listener": f"{self.port} {ports.LOOPBACK}",
            "plugin": str(self.plugin),
            "plugin_opt_config_file": str(self.plugin_file),
            "acl_file": str(acl_file),
            "persistence_location": f"{self.state}/",
        }
        conf_file = self.folder / "mosquitto.conf"
        conf_file.write_text(render(CONF.read_text(), replacements))
        for file in (acl_file, conf_file, self.plugin_file):
            give(file, self.account)

    @property
    def store(self) -> Path:
        """Its sessions, what they queue, and retained messages."""
        return self.state / "mosquitto.db"

    def spawn(self) -> subprocess.Popen[bytes]:
        self._logged_before = self.log.stat().st_size if self.log.exists() else 0
        return spawn(
            [self.binary, "-c", self.folder / "mosquitto.conf"],
            log=self.log,
            cwd=self.state,
            account=self.account,
        )

    def wait_ready(
        self, process: subprocess.Popen[bytes], within_s: float = 15.0, give_up: GiveUp = never
    ) -> None:
        """Until its port answers. Raises `ServiceFailed` or `Damaged` if not; `AskedToStop`."""
        wait_answering("Mosquitto", process, lambda: ports.answers(self.port), self.log, within_s, give_up)
        if process.poll() is not None:
            if self.refused_its_store():
                raise Damaged(self.store, "without it sessions and what they queued are lost")
            raise ServiceFailed("Mosquitto", f"ended with {process.returncode}", self.log)

    def refused_its_store(self) -> bool:
        """Return whether it said so since we started it last."""
        if self._logged_before is None or not self.log.exists():
            return False
        is_longer = self.log.stat().st_size > self._logged_before
        return is_longer and "Couldn't open database" in tail(self.log, lines=3)

    def put_store_aside(self) -> Path:
        """Keep what it could not read for a person to look at; return where."""
        return self.store.replace(self.store.with_name(f"{self.store.name}.damaged"))

    def start(self) -> None:
        self.prepare()
        self.process = self.spawn()
        try:
            self.wait_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """It saves its sessions, queues and retained messages first. Harmless when it does not run."""
        if self.process is not None:
            end(self.process, (signal.SIGTERM,))
            self.process = None

    def kill(self) -> None:
        """``kill -9``: what was not saved in the last two seconds or so is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()


def render(text: str, replacements: Mapping[str, str]) -> str:
    """``mosquitto.conf`` with other values for some directives.

    Raises `ValueError` for a directive that does not stand there exactly once: a file that we no longer
    understand must not be run half-replaced.
    """
    lines, missing = [], dict(replacements)
    for line in text.splitlines():
        directive = line.split(maxsplit=1)[0] if line.strip() else ""
        if directive in replacements:
            if directive not in missing:
                raise ValueError(f"mosquitto.conf has {directive!r} twice")
            line = f"{directive} {missing.pop(directive)}"
        lines.append(line)
    if missing:
        raise ValueError(f"mosquitto.conf has no {', '.join(missing)}")
    return "\n".join(lines) + "\n"


def find_mosquitto() -> tuple[Path, Path]:
    """The broker's binary and its dynamic-security plugin. Raises `MosquittoMissing`."""
    binary = shutil.which("mosquitto") or next(
        (str(path) for folder in BINARY_FOLDERS if (path := Path(folder, "mosquitto")).is_file()), None
    )
    plugin = next((path for folder in LIBRARY_FOLDERS for path in _plugins_in(Path(folder))), None)
    if binary is None or plugin is None:
        raise MosquittoMissing
    return Path(binary), plugin


def _plugins_in(folder: Path) -> list[Path]:
    """Debian has a folder an architecture below ``/usr/lib``."""
    return [*folder.glob(PLUGIN), *sorted(folder.glob(f"*/{PLUGIN}"))]
