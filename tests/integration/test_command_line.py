"""The command line as an administrator meets it."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.services.mosquitto import Broker
from tests.services.processes import Processes
from tests.services.settings import PROJECT

NOTHING_SET = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}


def run_with_nothing_set(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "milepost", *arguments]
    return subprocess.run(command, cwd=folder, env=NOTHING_SET, capture_output=True, text=True, check=False)


def test_a_process_without_settings_names_all_that_is_missing(tmp_path: Path) -> None:
    result = run_with_nothing_set(tmp_path, "ingest")
    assert result.returncode == 2
    for name in ("DATABASE_URL", "MQTT_URL", "MQTT_KEY", "JWT_KEY"):
        assert f"MILEPOST_{name} is not set" in result.stderr
    assert "Traceback" not in result.stderr


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


def test_a_database_that_is_away_is_one_line(processes: Processes) -> None:
    url = "postgresql://milepost:x@127.0.0.1:1/milepost"
    refused = processes.start("device", "list", "--company", "acme", MILEPOST_DATABASE_URL=url)
    assert refused.wait() == 1
    assert "Traceback" not in refused.output()


def test_a_present_plugin_file_is_left_when_asked(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "dynamic-security.json"
    _done(processes, "broker", "write", "--path", str(path))
    path.write_text("the broker's own")
    _done(processes, "broker", "write", "--if-absent", "--path", str(path))
    assert path.read_text() == "the broker's own"
    _done(processes, "broker", "write", "--path", str(path))
    assert '"clients"' in path.read_text()


def test_reconcile_repairs_a_broker_that_knows_too_little(processes: Processes, broker: Broker) -> None:
    _done(processes, "company", "add", "acme", "--manager-email", "boss@acme.example")
    said = _done(processes, "broker", "reconcile")
    assert "company-acme" in str(broker.plugin_state()["roles"])
    assert "roles changed  1" in said


def _done(processes: Processes, *arguments: str) -> str:
    """What a command printed that had to succeed."""
    process = processes.start(*arguments)
    assert process.wait(30) == 0, process.output()
    return process.output()
