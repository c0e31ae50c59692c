"""The command line as an administrator meets it."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.settings import Settings
from tests.support import factories
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.services.processes import Processes
from tests.support.services.settings import PROJECT, environment
from tests.support.slow import first_now
from tests.support.waiting import wait_until

NOTHING_SET = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}


def run_with_nothing_set(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_with(NOTHING_SET, folder, *arguments)


def run_with(env: Mapping[str, str], folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "milepost", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_process_without_settings_names_all_that_is_missing(tmp_path: Path) -> None:
    result = run_with_nothing_set(tmp_path, "ingest")
    assert result.returncode == 2
    for name in ("DATABASE_URL", "MQTT_URL", "MQTT_KEY", "JWT_KEY"):
        assert f"MILEPOST_{name} is not set" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_command_for_a_real_database_never_reaches_the_local_run(
    processes: Processes, settings: Settings, session: Session, tmp_path: Path
) -> None:
    local = {name: value for name, value in environment(settings).items() if name.startswith("MILEPOST_")}
    (tmp_path / ".milepost").mkdir()
    (tmp_path / ".milepost" / "run.env").write_text("".join(f"{k}={v}\n" for k, v in local.items()))
    add = ("company", "add", "acme", "--manager-email", "boss@acme.example")
    meant = {**NOTHING_SET, "MILEPOST_DATABASE_URL": "postgresql://real.example/milepost"}
    result = run_with(meant, tmp_path, *add)
    assert result.returncode == 2
    assert "MILEPOST_MQTT_KEY is not set" in result.stderr
    assert session.scalar(text("SELECT count(*) FROM company")) == 0
    assert run_with_nothing_set(tmp_path, *add).returncode == 0
    assert session.scalar(text("SELECT count(*) FROM company")) == 1


def test_help_loads_neither_the_web_nor_the_database(tmp_path: Path) -> None:
    code = "import sys, milepost; sys.exit(bool({'fastapi', 'sqlalchemy', 'psycopg2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=NOTHING_SET, check=True)


def test_a_company_its_people_and_devices_are_made(processes: Processes, session: Session) -> None:
    made = _done(processes, "company", "add", "acme", "--manager-email", "boss@acme.example")
    assert "password" in made
    _done(processes, "user", "add", "op@acme.example", "--company", "acme", "--role", "operator")
    added = _done(processes, "device", "add", "van 1", "--company", "acme")
    people = session.execute(text("SELECT email, role FROM app_user")).all()
    assert set(map(tuple, people)) == {("boss@acme.example", "manager"), ("op@acme.example", "operator")}
    device = session.scalar(text("SELECT id FROM device"))
    assert str(device) in added
    assert str(device) in _done(processes, "device", "list", "--company", "acme")


def test_a_device_without_a_binding_says_what_becomes_of_its_fixes(
    processes: Processes, session: Session
) -> None:
    company = factories.company(session, slug="acme")
    van = factories.vehicle(session, company)
    session.commit()
    unbound = _done(processes, "device", "add", "van 1", "--company", "acme")
    device = session.scalar(text("SELECT id FROM device"))
    assert "rejected (no_vehicle)" in unbound
    assert f"PATCH /devices/{device}/" in unbound
    bound = _done(processes, "device", "add", "van 2", "--company", "acme", "--vehicle", str(van.id))
    assert "no_vehicle" not in bound


def test_the_version_is_printed(tmp_path: Path) -> None:
    result = run_with_nothing_set(tmp_path, "--version")
    assert (result.returncode, result.stdout) == (0, f"milepost {version('milepost')}\n")


def test_the_databases_url_is_printed_for_other_programs(
    processes: Processes, settings: Settings, session: Session
) -> None:
    url = _done(processes, "database", "url").strip()
    assert url == settings.database_url.get_secret_value().replace("+psycopg2", "")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchall() == [(session.scalar(text("SELECT current_database()")),)]
    assert _done(processes, "database", "url", "--name", "scratch").strip().endswith("/scratch")


def test_the_databases_url_is_also_that_of_the_local_run(settings: Settings, tmp_path: Path) -> None:
    local = {name: value for name, value in environment(settings).items() if name.startswith("MILEPOST_")}
    (tmp_path / ".milepost").mkdir()
    (tmp_path / ".milepost" / "run.env").write_text("".join(f"{k}={v}\n" for k, v in local.items()))
    printed = run_with_nothing_set(tmp_path, "database", "url").stdout.strip()
    assert printed == settings.database_url.get_secret_value().replace("+psycopg2", "")


def test_a_devices_secret_is_the_one_the_broker_knows(
    processes: Processes, session: Session, broker: Broker
) -> None:
    _done(processes, "company", "add", "acme", "--manager-email", "boss@acme.example")
    _done(processes, "device", "add", "van 1", "--company", "acme")
    device = str(session.scalar(text("SELECT id FROM device")))
    assert broker.password(device) in _done(processes, "device", "credentials", device, "--company", "acme")
    rotated = _done(processes, "device", "credentials", device, "--company", "acme", "--rotate")
    assert broker.password(device, version=2) in rotated


def test_a_refusal_is_one_line(processes: Processes) -> None:
    refused = processes.start("company", "add", "Not A Slug", "--manager-email", "boss@acme.example")
    assert refused.wait() == 1
    (line,) = refused.output().splitlines()
    assert "slug must be" in line


def test_an_address_without_mailbox_is_refused_by_its_name(processes: Processes, session: Session) -> None:
    refused = processes.start("company", "add", "acme", "--manager-email", "<boss@acme.example>")
    assert refused.wait() == 1
    assert "manager_email must look like name@example.com" in refused.output()
    _done(processes, "company", "add", "acme", "--manager-email", "boss@acme.example")
    refused = processes.start("user", "add", "op@acme", "--company", "acme", "--role", "operator")
    assert refused.wait() == 1
    assert "email must look like name@example.com" in refused.output()
    assert session.scalars(text("SELECT email FROM app_user")).all() == ["boss@acme.example"]


def test_a_database_that_is_away_is_one_line(processes: Processes) -> None:
    url = "postgresql://milepost:x@127.0.0.1:1/milepost"
    refused = processes.start("device", "list", "--company", "acme", MILEPOST_DATABASE_URL=url)
    assert refused.wait() == 1
    assert "Traceback" not in refused.output()


def test_migrate_without_a_database_is_one_line(processes: Processes) -> None:
    refused = processes.start("migrate", MILEPOST_DATABASE_URL="postgresql://milepost:x@127.0.0.1:1/milepost")
    assert refused.wait() == 1
    (line,) = refused.output().splitlines()
    assert "Connection refused" in line


def test_a_database_without_tables_is_reported_with_the_remedy(
    processes: Processes, postgres_server: PostgresServer
) -> None:
    url = postgres_server.url("postgres")
    refused = processes.start("device", "list", "--company", "acme", MILEPOST_DATABASE_URL=url)
    assert refused.wait() == 1
    (line,) = refused.output().splitlines()
    assert "milepost migrate" in line


@pytest.mark.parametrize("verb", first_now(["ingest", "jobs"]))
def test_a_metrics_port_that_is_taken_is_one_line_with_the_remedy(
    processes: Processes, settings: Settings, verb: str
) -> None:
    name = f"MILEPOST_{verb.upper()}_METRICS_PORT"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = processes.start(verb, settings=None, **{name: str(port)})
        assert refused.wait() == 2
    *_, line = refused.output().splitlines()
    assert line.startswith(f"{name}={port} is taken")
    assert "Traceback" not in refused.output()


@pytest.mark.parametrize("label", first_now(["a\u2028b", "", "   ", "x" * 201, "a\tb", "a\x1bb"]))
def test_a_label_is_one_printable_line(tmp_path: Path, label: str) -> None:
    result = run_with_nothing_set(tmp_path, "device", "add", label, "--company", "acme")
    assert result.returncode == 1
    assert "label must have 1 to 200 characters" in result.stderr


@pytest.mark.parametrize("option", first_now(["--name", "--manager-name"]))
def test_a_blank_name_is_refused(tmp_path: Path, option: str) -> None:
    add = ("company", "add", "acme", "--manager-email", "boss@acme.example")
    result = run_with_nothing_set(tmp_path, *add, option, " ")
    assert result.returncode == 1
    assert "name must have 1 to 200 characters" in result.stderr


def test_an_argument_that_is_not_text_is_refused(tmp_path: Path) -> None:
    result = run_with_nothing_set(tmp_path, "device", "list", "--company", os.fsdecode(b"\xff\xfe"))
    assert result.returncode == 2
    assert "is not UTF-8" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_plugin_file_that_cannot_be_written_is_one_line(processes: Processes, tmp_path: Path) -> None:
    refused = processes.start("broker", "write", "--path", str(tmp_path / "missing" / "file.json"))
    assert refused.wait() == 1
    (line,) = refused.output().splitlines()
    assert "file.json cannot be written: No such file or directory" in line


def test_a_whole_plugin_file_is_left_when_asked(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "dynamic-security.json"
    write = ("broker", "write", "--if-damaged", "--path", str(path))
    _done(processes, *write)
    whole = path.read_text()
    assert "is whole" in _done(processes, "broker", "check", "--path", str(path))
    _done(processes, *write)
    assert path.read_text() == whole
    path.write_text(whole[:4096])
    refused = processes.start("broker", "check", "--path", str(path))
    assert refused.wait() == 1
    assert "is damaged" in refused.output()
    _done(processes, *write)
    _done(processes, "broker", "check", "--path", str(path))


def test_a_watched_plugin_file_is_made_whole_again(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "dynamic-security.json"
    _done(processes, "broker", "write", "--path", str(path))
    watch = processes.start("broker", "watch", "--path", str(path))
    watch.wait_for("broker_users_whole")
    path.write_text(path.read_text()[:4096])
    path.with_name("users-checked").unlink()  # as a broker's start does
    watch.wait_for("alert=broker_users_damaged")
    wait_until(path.with_name("users-checked").exists, what="a broker may start")
    _done(processes, "broker", "check", "--path", str(path))
    assert watch.terminate() == 0


def test_reconcile_repairs_a_broker_that_knows_too_little(processes: Processes, broker: Broker) -> None:
    _done(processes, "company", "add", "acme", "--manager-email", "boss@acme.example")
    printed = _done(processes, "broker", "reconcile")
    assert "company-acme" in str(broker.plugin_state()["roles"])
    assert "roles changed  1" in printed


def _done(processes: Processes, *arguments: str) -> str:
    """What a command printed that had to succeed."""
    process = processes.start(*arguments)
    assert process.wait(30) == 0, process.output()
    return process.output()
