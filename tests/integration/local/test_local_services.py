"""The embedded PostgreSQL and the local Mosquitto, wherever the project lies and whoever runs it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from local.services import postgres_binaries
from local.services.account import make_passable, remove_home, service_account, service_home
from local.services.kept_files import Damaged
from local.services.mosquitto import Mosquitto
from local.services.ports import answers, free_port, is_free
from local.services.postgres import THROWAWAY_OPTIONS, Postgres
from local.services.postgres_binaries import reachable_binaries
from local.supervision.processes import AskedToStop, ServiceFailed, end, spawn

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the services' account can get through (pytest's own is closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="milepost-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def open_postgres(data_dir: Path) -> Postgres:
    account = service_account(data_dir)
    home = service_home(data_dir, account)
    return Postgres(home, account=account, log=data_dir / "postgres.log", options=THROWAWAY_OPTIONS)


def test_the_next_run_finds_data_port_and_password(folder: Path) -> None:
    first = open_postgres(folder)
    first.start()
    _execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop()
    second = open_postgres(folder)
    second.start()
    try:
        assert second.url() == first.url()
        assert _execute(second, "SELECT answer FROM kept") == (42,)
    finally:
        second.stop()


def test_a_server_that_an_earlier_run_left_is_stopped_first(folder: Path) -> None:
    left, new = open_postgres(folder), open_postgres(folder)
    left.start()
    old = psutil.Process(_pid(left))
    new.start()
    try:
        assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
        assert new.port == left.port
        assert _execute(new, "SELECT 1") == (1,)
    finally:
        new.stop()
        left.stop()


def test_a_path_longer_than_a_sockets_is_no_obstacle(folder: Path) -> None:
    data_dir = make_passable(make_passable(folder / ("long" * 30)) / ("longer" * 20))
    server = open_postgres(data_dir)
    server.start()
    try:
        assert _execute(server, "SELECT 1") == (1,)
    finally:
        server.stop()


def test_it_listens_on_loopback_only_and_has_no_socket(folder: Path) -> None:
    server = open_postgres(folder)
    server.start()
    try:
        assert _execute(server, "SHOW listen_addresses") == ("127.0.0.1",)
        assert _execute(server, "SHOW unix_socket_directories") == ("",)
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(
                host="127.0.0.1", port=server.port, user="milepost", password="guess", dbname="postgres"
            )
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = open_postgres(folder)
    server._options["shared_buffers"] = "nonsense"
    with pytest.raises(ServiceFailed, match="shared_buffers"):
        server.start()


@pytest.mark.parametrize("content", ["99999", "0", "-5", "port"])
def test_a_port_that_cannot_be_is_chosen_anew(folder: Path, content: str) -> None:
    home = service_home(folder, service_account(folder))
    (make_passable(home / "postgres") / "port").write_text(content)
    assert is_free(open_postgres(folder).port)


def test_a_password_file_that_is_damaged_is_named(folder: Path) -> None:
    first = open_postgres(folder)
    first.start()
    first.stop()
    password = first.folder / "password"
    password.write_text("another")
    second = open_postgres(folder)
    try:
        with pytest.raises(Damaged, match=str(password)):
            second.start()
    finally:
        second.stop()
    password.write_bytes(b"\xff\xfe")
    with pytest.raises(Damaged, match=str(password)):
        open_postgres(folder)


def test_waiting_for_a_service_ends_at_a_stop_request(folder: Path) -> None:
    account = service_account(folder)
    home = service_home(folder, account)
    mosquitto = Mosquitto(home, port=free_port(), account=account, log=folder / "mosquitto.log")
    silent = spawn(["sleep", "60"], log=folder / "log", cwd=folder)
    try:
        with pytest.raises(AskedToStop):
            open_postgres(folder).wait_ready(silent, give_up=lambda: True)
        with pytest.raises(AskedToStop):
            mosquitto.wait_ready(silent, give_up=lambda: True)
    finally:
        end(silent)


def test_initdb_that_is_cut_off_leaves_nothing_half_made(folder: Path) -> None:
    server = open_postgres(folder)
    with pytest.raises(AskedToStop):
        server.prepare(give_up=lambda: True)
    assert not server.data.exists()
    server.start()
    server.stop()


@pytest.mark.skipif(not IS_ROOT, reason="about running as root")
def test_as_root_a_closed_parent_stays_closed_to_the_server(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    data_dir = make_passable(tmp_path / "data")
    server = open_postgres(data_dir)
    try:
        server.start()
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        assert (data_dir / "services").is_symlink()
        assert psutil.Process(_pid(server)).uids().real != 0
    finally:
        server.stop()
        remove_home(data_dir)


@pytest.mark.skipif(not IS_ROOT, reason="about running as root")
def test_as_root_binaries_out_of_reach_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = postgres_binaries.find_package()
    for name in (package.name, f"{package.name}.libs"):
        (tmp_path / name).symlink_to(package.with_name(name))
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres_binaries, "find_package", lambda: tmp_path / package.name)
    account = service_account(folder)
    assert folder in reachable_binaries(folder, account).parents
    server = open_postgres(folder)
    server.start()
    try:
        assert _execute(server, "SELECT 1") == (1,)
    finally:
        server.stop()


def test_mosquitto_stays_on_loopback_and_can_rewrite_its_files(folder: Path) -> None:
    account = service_account(folder)
    server = Mosquitto(
        service_home(folder, account), port=free_port(), account=account, log=folder / "mosquitto.log"
    )
    server.plugin_file.write_text('{"clients": [], "roles": [], "defaultACLAccess": {}}')
    server.start()
    try:
        process = psutil.Process(_pid(server))
        assert {connection.laddr.ip for connection in process.net_connections("tcp")} == {"127.0.0.1"}
        assert process.uids().real != 0
        assert server.plugin_file.stat().st_uid == process.uids().real == server.state.stat().st_uid
        server.kill()
        assert not answers(server.port)
        server.restart()
        assert answers(server.port)
    finally:
        server.stop()
    assert is_free(server.port)


def test_mosquittos_damaged_database_is_named(folder: Path) -> None:
    account = service_account(folder)
    home = service_home(folder, account)
    server = Mosquitto(home, port=free_port(), account=account, log=folder / "mosquitto.log")
    server.plugin_file.write_text('{"clients": [], "roles": [], "defaultACLAccess": {}}')
    database = server.state / "mosquitto.db"
    database.write_bytes(b"not what it wrote")
    with pytest.raises(Damaged, match=str(database)):
        server.start()
    server.stop()


def _execute(server: Postgres, statement: str) -> tuple[object, ...]:
    """The first row of the answer, if it has one."""
    with closing(psycopg2.connect(server.url("postgres").replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row: tuple[object, ...] = (cursor.fetchone() or ()) if cursor.description else ()
    return row


def _pid(server: Postgres | Mosquitto) -> int:
    assert server.process is not None
    return server.process.pid
