"""The parts of a Milepost on one machine, in the order in which they start."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg2
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from broker.access_control import plugin_file
from core.database.engine import connect_arguments, make_sessions
from core.database.errors import sqlstate
from core.database.schema import migrate
from core.identities import SHARDS
from core.models.company import Company
from core.settings import Settings, SettingsError
from local import banner, demo, loopback
from local.services import ports
from local.services.account import make_private, service_account, service_home
from local.services.broker_start import BrokerStart
from local.services.kept_files import write_private
from local.services.mosquitto import Mosquitto
from local.services.postgres import STOP_SIGNALS, USER, Postgres
from local.settings import RUN_ENV, LocalSettings, kept_secrets, settings_of_children
from local.supervision.processes import AskedToStop, ServiceFailed, connections_to, spawn
from local.supervision.supervisor import Child, Supervisor

READY_WITHIN_S = 60.0
CHILD_SHUTDOWN_S = 4  # a child gives up before the supervisor's own time-out


Result = TypeVar("Result")


class PortTaken(Exception):
    """Another process listens on a port of ours."""

    def __init__(self, port: int, variable: str) -> None:
        super().__init__(f"Port {port} on 127.0.0.1 is taken or forbidden: set {variable} to another one.")


class Machine:
    """Everything that `milepost up` runs."""

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
        self._processes: dict[str, Child] = {}
        self._check_metrics_ports(settings_of_children(self._variables()))

    @property
    def steps(self) -> list[Callable[[], None]]:
        steps = [self._start_postgres, self._fill_database, self._start_mosquitto, self._start_processes]
        steps += [self._wait_for_ingest, self._wait_ready]
        return [*steps, *([self._start_demo] if self._with_demo else []), self._show_banner]

    def start(self) -> None:
        """Run the steps until one fails or the user asks us to stop."""
        try:
            for step in self.steps:
                if not self._asked_to_stop():
                    step()
        except AskedToStop:
            return

    def _asked_to_stop(self) -> bool:
        return self._supervisor.stopping

    def _check_ports(self) -> None:
        settings = self._settings
        for port, name in ((settings.http_port, "HTTP"), (settings.mqtt_port, "MQTT")):
            if not ports.is_free(port):
                raise PortTaken(port, f"MILEPOST_{name}_PORT")

    def _check_metrics_ports(self, settings: Settings) -> None:
        """Refuse a taken port now: a child would fail on it at each restart."""
        used = {self._settings.http_port: "HTTP", self._settings.mqtt_port: "MQTT"}
        wanted = {"INGEST_METRICS": settings.ingest_metrics_port, "JOBS_METRICS": settings.jobs_metrics_port}
        for name, port in wanted.items():
            if port is None:
                continue
            if port in used:
                raise SettingsError(f"MILEPOST_{name}_PORT and MILEPOST_{used[port]}_PORT must differ")
            if not ports.is_free(port):
                raise PortTaken(port, f"MILEPOST_{name}_PORT")
            used[port] = name

    def _start_postgres(self) -> None:
        self._postgres.prepare(self._asked_to_stop)
        child = Child("postgres", self._postgres.spawn, self._postgres.log, STOP_SIGNALS)
        self._postgres.wait_ready(self._supervisor.start(child), give_up=self._asked_to_stop)
        self._say("postgres started")

    def _fill_database(self) -> None:
        self._in_background(self._prepare_database)
        self._say("database ready")

    def _prepare_database(self) -> None:
        """Migrate the database, create the demo company, and write the broker's users from the database."""
        self._postgres.make_database(USER)
        migrate(self._postgres.url())
        with self._sessions() as sessions:
            if self._with_demo:
                demo.prepare(sessions, self._demo_password, self._secrets.mqtt_key)
        self._write_plugin_file()

    def _write_plugin_file(self) -> None:
        with self._sessions() as sessions, sessions() as session:
            plugin_file.write(self._mosquitto.plugin_file, session, self._secrets.mqtt_key)

    @contextmanager
    def _sessions(self) -> Iterator[sessionmaker[Session]]:
        engine = create_engine(self._postgres.url(), connect_args=connect_arguments("up"))
        try:
            yield make_sessions(engine)
        finally:
            engine.dispose()

    def _in_background(self, work: Callable[[], Result]) -> Result:
        """Run database work on a thread, so that Ctrl-C works even while the database does not answer.

        The thread ends with PostgreSQL, which stops with us. Raises `ServiceFailed` if PostgreSQL goes away
        before.
        """
        thread = ThreadPoolExecutor(1)
        try:
            doing = thread.submit(work)
            if not self._supervisor.run(doing.done):
                raise AskedToStop
            return doing.result()
        except (DBAPIError, psycopg2.Error) as error:
            if _is_gone(error):
                raise ServiceFailed("PostgreSQL", "went away while we used it", self._postgres.log) from None
            raise
        finally:
            thread.shutdown(wait=False)

    def _start_mosquitto(self) -> None:
        self._mosquitto.prepare()
        start = BrokerStart(self._mosquitto, self._write_plugin_file, self._say)
        child = Child("mosquitto", start.spawn, self._mosquitto.log)
        self._mosquitto.wait_ready(self._supervisor.start(child), give_up=self._asked_to_stop)
        self._say("mosquitto started")

    def _start_processes(self) -> None:
        variables = self._variables()
        text = "".join(f"{name}={value}\n" for name, value in variables.items())
        write_private(self._data_dir / RUN_ENV, text)
        for verb in ("ingest", "jobs", "api"):
            self._start_process(verb)

    def _start_demo(self) -> None:
        self._start_process("demo")

    def _start_process(self, verb: str) -> None:
        env = {**os.environ, **self._variables(), "MILEPOST_DEMO_PASSWORD": self._demo_password}
        self._processes[verb] = self._process(verb, env)
        self._supervisor.start(self._processes[verb])
        self._say(f"{verb} started")

    def _process(self, verb: str, env: dict[str, str]) -> Child:
        log = self._log(verb)
        command = [sys.executable, "-m", "milepost", verb]
        return Child(verb, lambda: spawn(command, log=log, cwd=Path.cwd(), env=env), log)

    def _wait_for_ingest(self) -> None:
        """Wait for ingest's subscriptions."""
        # Before the very first subscription the broker drops all telemetry: demo and banner come later.
        ready = self._supervisor.run(self._is_ingest_on_the_broker, READY_WITHIN_S)
        if not ready and not self._supervisor.stopping:
            raise ServiceFailed(
                "Ingest", f"was not on the broker within {READY_WITHIN_S:.0f} s", self._log("ingest")
            )

    def _is_ingest_on_the_broker(self) -> bool:
        process = self._processes["ingest"].process
        return process is not None and connections_to(process.pid, self._settings.mqtt_port) == len(SHARDS)

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
        self._say(self._in_background(self._banner))

    def _banner(self) -> str:
        with self._sessions() as sessions, sessions() as session:
            operator = demo.operator_login(session, self._secrets.mqtt_key) if self._with_demo else None
            companies = session.scalar(select(func.count()).select_from(Company)) or 0
        return banner.render(
            http_url=self._http_url,
            mqtt_port=self._settings.mqtt_port,
            data_dir=self._data_dir,
            command=_own_command(),
            password=self._demo_password,
            operator=operator,
            companies=companies,
        )

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
            "MILEPOST_METRICS_HOST": ports.LOOPBACK,
            "MILEPOST_SHUTDOWN_TIMEOUT_S": str(CHILD_SHUTDOWN_S),
            "MILEPOST_DISK_FOLDER": str(self._postgres.folder),
        }

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _is_gone(error: DBAPIError | psycopg2.Error) -> bool:
    """Return whether the server is gone, rather than refusing our statement."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or not sqlstate(error)
    return not error.pgcode


def _own_command() -> str:
    """Return the shortest command that runs the ``milepost`` beside this Python from the current folder."""
    script = Path(sys.executable).with_name("milepost")
    if not script.exists():
        return f"{sys.executable} -m milepost"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)
