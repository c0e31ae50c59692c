"""The parts of a Milepost on one machine, in the order in which they start."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from core.identities import SHARDS
from local import banner, loopback
from local.services import ports
from local.services.account import make_private, service_account, service_home
from local.services.broker_start import BrokerStart
from local.services.kept_files import write_private
from local.services.mosquitto import Mosquitto
from local.services.postgres import Postgres
from local.settings import RUN_ENV, LocalSettings, kept_secrets, settings_of_children
from local.supervision.database import LocalDatabase, run_in_background
from local.supervision.port_checks import require_free_metrics_ports, require_free_ports
from local.supervision.processes import AskedToStop, ServiceFailed, connections_to, spawn
from local.supervision.supervisor import Child, Supervisor

READY_WITHIN_S = 60.0
CHILD_SHUTDOWN_S = 4  # a child gives up before the supervisor's own time-out


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
        require_free_ports(settings)
        account = service_account(data_dir)
        home = service_home(data_dir, account)
        self._logs = make_private(data_dir / "logs", None)
        self._postgres = Postgres(home, account=account, log=self._log("postgres"))
        self._mosquitto = Mosquitto(
            home, port=settings.mqtt_port, account=account, log=self._log("mosquitto")
        )
        self._database = LocalDatabase(self._postgres, self._secrets.mqtt_key)
        self._processes: dict[str, Child] = {}
        require_free_metrics_ports(settings, settings_of_children(self._variables()))

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

    def _start_postgres(self) -> None:
        self._postgres.prepare(self._asked_to_stop)
        child = Child("postgres", self._postgres.spawn, self._postgres.log, self._postgres.stop_signals)
        self._postgres.wait_ready(self._supervisor.start(child), give_up=self._asked_to_stop)
        self._say("postgres started")

    def _fill_database(self) -> None:
        run_in_background(self._prepare_database, self._supervisor, self._postgres)
        self._say("database ready")

    def _prepare_database(self) -> None:
        self._database.prepare(self._demo_password if self._with_demo else None)
        self._write_plugin_file()

    def _write_plugin_file(self) -> None:
        self._database.write_plugin_file(self._mosquitto.plugin_file)

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
        self._say(run_in_background(self._banner, self._supervisor, self._postgres))

    def _banner(self) -> str:
        return banner.render(
            http_url=self._http_url,
            mqtt_port=self._settings.mqtt_port,
            data_dir=self._data_dir,
            command=_own_command(),
            password=self._demo_password,
            operator=self._database.operator_login() if self._with_demo else None,
            companies=self._database.count_companies(),
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


def _own_command() -> str:
    """Return the shortest command that runs the ``milepost`` beside this Python from the current folder."""
    script = Path(sys.executable).with_name("milepost")
    if not script.exists():
        return f"{sys.executable} -m milepost"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)
