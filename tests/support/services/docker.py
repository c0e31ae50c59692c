"""Both services in containers: PostgreSQL 18 and eclipse-mosquitto 2.0, by `testcontainers`."""

import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import psycopg2
from testcontainers.core.container import DockerContainer

from broker.mosquitto_conf import ACL, CONF
from local.services.ports import free_port
from tests.support.waiting import wait_until

POSTGRES_IMAGE = "postgres:18"
MOSQUITTO_IMAGE = "eclipse-mosquitto:2.0"
PLUGIN_FILE = "/mosquitto/security/dynamic-security.json"  # as mosquitto.conf says
# MQTT 3.1.1 without a user: refused, but answered.
NOBODYS_CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
CONNACK = b"\x20"


def docker_answers() -> bool:
    """Whether a Docker engine can be reached within 3 s."""
    try:
        with closing(docker.from_env(timeout=3)) as client:
            return bool(client.ping())
    except Exception:  # whatever is wrong with it, the tests do without
        return False


class DockerPostgres:
    def __init__(self) -> None:
        self._password = secrets.token_urlsafe(24)
        self._port = free_port()
        self._container = DockerContainer(POSTGRES_IMAGE, command="postgres -c fsync=off")
        self._container.with_env("POSTGRES_PASSWORD", self._password).with_bind_ports(5432, self._port)
        self._made = False

    def url(self, database: str) -> str:
        host = self._container.get_container_host_ip()
        return f"postgresql+psycopg2://postgres:{self._password}@{host}:{self._port}/{database}"

    def start(self) -> None:
        if self._made:
            self._container.get_wrapped_container().start()
        else:
            self._made = True
            self._container.start()
        wait_until(self._accepts, timeout=60, what="PostgreSQL's container accepts connections")

    def stop(self) -> None:
        self._end("SIGINT")

    def kill(self) -> None:
        self._end("SIGKILL")

    def remove(self) -> None:
        if self._made:
            self._container.stop()

    def _end(self, signal: str) -> None:
        container = self._container.get_wrapped_container()
        container.kill(signal)
        container.wait(timeout=15)

    def _accepts(self) -> bool:
        url = self.url("postgres").replace("+psycopg2", "")
        try:
            # The image's set-up runs a server without TCP first: who answers here is the real one.
            psycopg2.connect(url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


class DockerMosquitto:
    """The top-level `mosquitto.conf` as it is; files are copied in, since the engine may run elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.plugin_file = folder / "dynamic-security.json"
        self._container = self._new_container()
        self._made = False
        self._given: bytes | None = None
        self._output_of_removed = ""

    @property
    def url(self) -> str:
        return f"mqtt://{self._container.get_container_host_ip()}:{self.port}"

    def start(self) -> None:
        if not self._made:
            self._make()
        else:
            self._give_plugin_file()
            self._container.get_wrapped_container().start()
        wait_until(self._is_ready, timeout=30, what="Mosquitto's container answers")

    def stop(self) -> None:
        self._end("SIGTERM")

    def kill(self) -> None:
        self._end("SIGKILL")

    def restart(self) -> None:
        self.stop()
        self.start()

    def output(self) -> str:
        """While it runs too."""
        return self._output_of_removed + (self._container_output() if self._made else "")

    def present_plugin_file(self) -> Path:
        present = self.plugin_file.with_name("present.json")
        self._container.copy_from_container(PLUGIN_FILE, present)
        return present

    def lose_data(self) -> None:
        """Its data go with the container; the next start makes another one."""
        self.plugin_file.write_bytes(self.present_plugin_file().read_bytes())
        self._output_of_removed = self.output()
        self.remove()
        self._container, self._made = self._new_container(), False

    def remove(self) -> None:
        if self._made:
            self._container.stop()

    def _new_container(self) -> DockerContainer:
        return DockerContainer(MOSQUITTO_IMAGE).with_bind_ports(1883, self.port)

    def _make(self) -> None:
        self._made = True
        self._container.with_copy_into_container(CONF, "/mosquitto/config/mosquitto.conf")
        self._container.with_copy_into_container(ACL, "/mosquitto/config/mosquitto.acl")
        self._given = self.plugin_file.read_bytes()
        # The image's entrypoint, as root, makes all below /mosquitto its user's own before Mosquitto starts.
        self._container.with_copy_into_container(self._given, PLUGIN_FILE, 0o600)
        self._container.start()

    def _give_plugin_file(self) -> None:
        """Only when the test has written it anew: otherwise the broker's own changes survive its restart."""
        wanted = self.plugin_file.read_bytes()
        if wanted != self._given:
            self._container.copy_into_container(wanted, PLUGIN_FILE, 0o600)
            self._given = wanted

    def _end(self, signal: str) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "running":
            container.kill(signal)
            container.wait(timeout=15)

    def _container_output(self) -> str:
        written: bytes = self._container.get_wrapped_container().logs()
        return written.decode(errors="replace")

    def _is_ready(self) -> bool:
        """Docker's proxy accepts connections before Mosquitto listens: only an answer tells."""
        host = self._container.get_container_host_ip()
        try:
            with socket.create_connection((host, self.port), timeout=2) as connection:
                connection.sendall(NOBODYS_CONNECT)
                return connection.recv(1) == CONNACK
        except OSError:
            return False


class DockerServices:
    @contextmanager
    def postgres(self) -> Iterator[DockerPostgres]:
        server = DockerPostgres()
        try:
            server.start()
            yield server
        finally:
            server.remove()

    @contextmanager
    def mosquitto(self) -> Iterator[DockerMosquitto]:
        """Not started yet: its plugin's file is still to be written."""
        with tempfile.TemporaryDirectory(prefix="milepost-tests-") as folder:
            server = DockerMosquitto(Path(folder))
            try:
                yield server
            finally:
                server.remove()
