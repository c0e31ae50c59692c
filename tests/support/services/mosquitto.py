"""Mosquitto for tests, with access control on, as it is everywhere."""

import json
import secrets
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from broker.access_control import plugin_file
from core.identities import mqtt_secret


class BrokerServer(Protocol):
    """The same for the local Mosquitto and for a container; it keeps its port over stop, kill and start."""

    @property
    def url(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def plugin_file(self) -> Path: ...
    def output(self) -> str: ...
    def present_plugin_file(self) -> Path: ...
    def lose_data(self) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class Broker:
    """A running broker whose users and roles came from a test's database."""

    def __init__(self, server: BrokerServer) -> None:
        self._server = server
        self.mqtt_key = secrets.token_hex(32)

    @property
    def url(self) -> str:
        """``mqtt://host:port``, as ``MILEPOST_MQTT_URL`` wants it."""
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def host(self) -> str:
        return self._server.url.removeprefix("mqtt://").rpartition(":")[0]

    @property
    def plugin_file(self) -> Path:
        """What the broker is given for its start. What it made of it since: `plugin_state`."""
        return self._server.plugin_file

    def plugin_state(self) -> dict[str, Any]:
        """The plugin's file as it is now, with all that was changed over MQTT."""
        state: dict[str, Any] = json.loads(self._server.present_plugin_file().read_text())
        return state

    def log(self) -> str:
        """All that it has written so far; a line may come a moment after what it tells of."""
        return self._server.output()

    def password(self, user: str, version: int = 1) -> str:
        """The secret of a device, an operator or one of our own processes, derived as they do."""
        return mqtt_secret(self.mqtt_key, user, version)

    def write(self, session: Session) -> None:
        """Write the plugin's file from the database, for the next start."""
        plugin_file.write(self.plugin_file, session, self.mqtt_key)

    def rewrite(self, session: Session) -> None:
        """Stop, make users and roles what ``session`` sees, start: for a test that adds devices or people."""
        self.stop()
        self.write(session)
        self.start()

    def start(self) -> None:
        """Returns when its port answers."""
        self._server.start()

    def stop(self) -> None:
        """It saves sessions, queues and retained messages first."""
        self._server.stop()

    def kill(self) -> None:
        """``kill -9``."""
        self._server.kill()

    def restart(self) -> None:
        self._server.restart()

    def lose_data(self) -> None:
        """While it is stopped: the next start knows no session, queue or retained message; users stay."""
        self._server.lose_data()
