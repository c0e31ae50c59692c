"""The parts of a Milepost on one machine, in the order in which they start."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine

from broker import plugin_file
from core.database import connect_arguments, make_sessions
from core.schema import migrate
from local import banner, demo, loopback, ports
from local.account import make_private, service_account, service_home
from local.kept_files import write_private
from local.mosquitto import Mosquitto
from local.postgres import STOP_SIGNALS, USER, Postgres
from local.processes import ServiceFailed, spawn
from local.settings import RUN_ENV, LocalSettings, kept_secrets
from local.supervisor import Child, Supervisor

READY_WITHIN_S = 60.0
LARGE_LOG_BYTES = 10_000_000
CHILD_SHUTDOWN_S = 4  # a child gives up before the supervisor loses patience with it


class PortTaken(Exception):
    """Somebody else listens where we should."""

    def __init__(self, port: int, variable: str) -> None:
        super().__init__(f"Port {port} on 127.0.0.1 is taken or forbidden: set {variable} to another one.")


class Machine:
    """All that `milepost up` runs."""

    def __init__(
        self,
        settings: LocalSettings,
        data_dir: Path,
        supervisor: Supervisor,
        say: Callable[[str], None],
        *,
        with_demo: bool,
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._supervisor = supervisor
        self._say = say
        self._with_demo = with_demo
        self._secrets = kept_secrets(data_dir)
        self._check_ports()
        account = service_account(data_dir)
        home = service_home(data_dir, account)
        self._logs = make_private(data_dir / "logs", None)
        self._postgres = Postgres(home, account=account, log=self._log("postgres"))
        self._mosquitto = Mosquitto(
            home, port=settings.mqtt_port, account=account, log=self._log("mosquitto")
        )

    @property
    def steps(self) -> list[Callable[[], None]]:
        steps = [self._start_postgres, self._fill_database, self._start_mosquitto, self._start_processes]
        return [*steps, self._wait_ready, self._show_banner]

    def start(self) -> None:
        """Step by step, until somebody asks us to stop."""
        for step in self.steps:
            if not self._supervisor.stopping:
                step()

    def _check_ports(self) -> None:
        settings = self._settings
        for port, name in ((settings.http_port, "HTTP"), (settings.mqtt_port, "MQTT")):
            if not ports.is_free(port):
                raise PortTaken(port, f"MILEPOST_{name}_PORT")

    def _start_postgres(self) -> None:
        self._postgres.prepare()
        child = Child("postgres", self._postgres.spawn, self._postgres.log, STOP_SIGNALS)
        self._postgres.wait_ready(self._supervisor.start(child))
        self._say("postgres started")

    def _fill_database(self) -> None:
        """The newest structure, the demo's company, and the broker's users: the database is the truth."""
        self._postgres.make_database(USER)
        migrate(self._postgres.url())
        engine = create_engine(self._postgres.url(), connect_args=connect_arguments("up"))
        sessions = make_sessions(engine)
        if self._with_demo:
            demo.prepare(sessions, self._demo_password, self._secrets.mqtt_key)
        with sessions() as session:
            plugin_file.write(self._mosquitto.plugin_file, session, self._secrets.mqtt_key)
        engine.dispose()
        self._say("database ready")

    def _start_mosquitto(self) -> None:
        self._mosquitto.prepare()
        child = Child("mosquitto", self._mosquitto.spawn, self._mosquitto.log)
        self._mosquitto.wait_ready(self._supervisor.start(child))
        self._say("mosquitto started")

    def _start_processes(self) -> None:
        variables = self._variables()
        text = "".join(f"{name}={value}\n" for name, value in variables.items())
        write_private(self._data_dir / RUN_ENV, text)
        env = {**os.environ, **variables, "MILEPOST_DEMO_PASSWORD": self._demo_password}
        for verb in ("ingest", "jobs", "api", *(["demo"] if self._with_demo else [])):
            self._supervisor.start(self._process(verb, env))
            self._say(f"{verb} started")

    def _process(self, verb: str, env: dict[str, str]) -> Child:
        log = self._log(verb)
        command = [sys.executable, "-m", "milepost", verb]
        return Child(verb, lambda: spawn(command, log=log, cwd=Path.cwd(), env=env), log)

    def _wait_ready(self) -> None:
        ready = self._supervisor.run(self._is_ready, READY_WITHIN_S)
        if not ready and not self._supervisor.stopping:
            raise ServiceFailed("The API", f"was not ready within {READY_WITHIN_S:.0f} s", self._log("api"))

    def _is_ready(self) -> bool:
        try:
            with loopback.request(f"{self._http_url}/readyz", timeout_s=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _show_banner(self) -> None:
        engine = create_engine(self._postgres.url(), connect_args=connect_arguments("up"))
        with make_sessions(engine)() as session:
            operator = demo.operator_login(session, self._secrets.mqtt_key) if self._with_demo else None
        engine.dispose()
        text = banner.render(
            http_url=self._http_url,
            mqtt_port=self._settings.mqtt_port,
            data_dir=self._data_dir,
            command=_own_command(),
            password=self._demo_password,
            operator=operator,
        )
        self._say(text)

    @property
    def _http_url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self._settings.http_port}"

    @property
    def _demo_password(self) -> str:
        chosen = self._settings.demo_password
        return chosen.get_secret_value() if chosen else self._secrets.demo_password

    def _variables(self) -> dict[str, str]:
        return {
            "MILEPOST_DATABASE_URL": self._postgres.url(),
            "MILEPOST_MQTT_URL": self._mosquitto.url,
            "MILEPOST_MQTT_KEY": self._secrets.mqtt_key,
            "MILEPOST_JWT_KEY": self._secrets.jwt_key,
            "MILEPOST_HTTP_HOST": ports.LOOPBACK,
            "MILEPOST_HTTP_PORT": str(self._settings.http_port),
            "MILEPOST_SHUTDOWN_TIMEOUT_S": str(CHILD_SHUTDOWN_S),
        }

    def _log(self, name: str) -> Path:
        """The log file of a process; a large one of earlier runs is put aside."""
        path = self._logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LARGE_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path


def _own_command() -> str:
    """``milepost`` as it is installed beside this Python, as short as it can be said from here."""
    script = Path(sys.executable).with_name("milepost")
    if not script.exists():
        return f"{sys.executable} -m milepost"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)
