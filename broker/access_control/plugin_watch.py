"""Keep the plugin's file whole beside a broker whose start we do not control: a container with only ``sh``.

Invariant: the file ``CHECKED`` exists beside the plugin's file only while the latter was whole at the last
check. It is checked every 20 s, and at once when ``CHECKED`` is missing: `start.sh` removes it before each
start of the broker and waits for it. A damaged file is logged, and restored by a running broker that still
lets us in (it has all users in memory), or else from the database.
Errors: every failure is logged and retried.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from broker.access_control import plugin_file
from broker.access_control.control import Control, ControlError
from broker.connection import BrokerLogin, login
from broker.link import BrokerAway
from core.database.engine import make_engine, make_sessions
from core.identities import PROVISIONER_USER
from core.settings import Settings

CHECKED = "users-checked"
POLL_S = 0.5
CHECK_EVERY_S = 20.0
SAVED_WITHIN_S = 1.0
RETRY_S = 5.0
LOG_AGAIN_AFTER_S = 600.0

log = logging.getLogger(__name__)


def run(settings: Settings, path: Path) -> None:
    """Watch until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    engine = make_engine(settings, process="broker-users", pool_size=1)
    sessions = make_sessions(engine)

    def write() -> None:
        with sessions() as session:
            plugin_file.write(path, session, settings.mqtt_key.get_secret_value())

    log.info("broker_users_watched path=%s", path)
    PluginWatch(path, write, login(settings, PROVISIONER_USER)).run(stop)
    engine.dispose()


class PluginWatch:
    """``write`` recreates the file from the database; ``to`` is the provisioner's login."""

    def __init__(self, path: Path, write: Callable[[], None], to: BrokerLogin) -> None:
        self._path = path
        self._checked = path.with_name(CHECKED)
        self._write = write
        self._to = to
        self._check_at = 0.0
        self._logged_at: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop`` is set."""
        while not stop.wait(POLL_S):
            try:
                self.check()
            except Exception as error:  # the broker's start depends on us: no error may end the watch
                log.error("broker_users_not_repaired path=%s error=%r", self._path, _describe(error))
                stop.wait(RETRY_S)

    def check(self) -> None:
        """Check the file if a check is due or requested, and restore it. Raises whatever made that fail."""
        if self._checked.exists() and time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + CHECK_EVERY_S
        damage = self._damage()
        if damage is not None:
            self._checked.unlink(missing_ok=True)
            self._log_damage(damage)
            self._repair()
        self._logged_at = None
        if not self._checked.exists():
            self._checked.touch()
            log.info("broker_users_whole path=%s", self._path)

    def _damage(self) -> str | None:
        """Return the damage that two checks agree on: Mosquitto truncates its file before writing it."""
        if plugin_file.damage(self._path) is None:
            return None
        time.sleep(SAVED_WITHIN_S)
        return plugin_file.damage(self._path)

    def _log_damage(self, damage: str) -> None:
        if self._logged_at is None or time.monotonic() - self._logged_at >= LOG_AGAIN_AFTER_S:
            self._logged_at = time.monotonic()
            log.error("alert=broker_users_damaged path=%s reason=%r", self._path, damage)

    def _repair(self) -> None:
        try:
            with Control(self._to) as control:
                control.save()
        except (BrokerAway, ControlError) as error:
            # The broker is down, or was started without users and will never write this file.
            log.warning("broker_users_not_saved reason=%r", str(error))
        if plugin_file.damage(self._path) is not None:
            self._write()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
