"""A PostgreSQL, a Mosquitto with access control and a company with devices, for one run of a benchmark."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session, sessionmaker

from broker.access_control import plugin_file, roles
from core.database.engine import make_sessions
from core.database.schema import migrate
from core.identities import SHARDS, new_device_id
from core.models.company import Company
from core.models.fleet import Device, Vehicle
from local.services.account import make_passable, remove_home, service_account, service_home
from local.services.mosquitto import Mosquitto
from local.services.ports import free_port
from local.services.postgres import Postgres

WATCHER = "bench-watcher"  # may read everything: mosquitto_sub drains what ingest would


class BenchServices(msgspec.Struct):
    postgres: Postgres
    mosquitto: Mosquitto
    sessions: sessionmaker[Session]
    devices: list[str]
    mqtt_key: str
    jwt_key: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MILEPOST_DATABASE_URL": self.postgres.url("bench"),
            "MILEPOST_MQTT_URL": self.mosquitto.url,
            "MILEPOST_MQTT_KEY": self.mqtt_key,
            "MILEPOST_JWT_KEY": self.jwt_key,
        }


@contextmanager
def running_services(devices: int) -> Iterator[BenchServices]:
    folder = Path(tempfile.mkdtemp(prefix="milepost-bench-"))
    folder.chmod(0o711)
    account = service_account(folder)
    home = make_passable(service_home(folder, account))
    postgres = Postgres(home, account=account, log=folder / "postgres.log")
    mosquitto = Mosquitto(home, port=free_port(), account=account, log=folder / "mosquitto.log")
    try:
        postgres.start()
        postgres.make_database("bench")
        migrate(postgres.url("bench"))
        engine = create_engine(postgres.url("bench"))
        services = BenchServices(
            postgres, mosquitto, make_sessions(engine), [], secrets.token_hex(32), secrets.token_hex(32)
        )
        _populate(services, devices)
        mosquitto.start()
        yield services
        engine.dispose()
    finally:
        mosquitto.stop()
        postgres.stop()
        remove_home(folder)
        shutil.rmtree(folder)


def _populate(services: BenchServices, devices: int) -> None:
    with services.sessions() as session:
        company = Company(slug="bench", name="Bench")
        vehicles = [Vehicle(name=f"Van {i}") for i in range(devices)]
        session.add(company)
        session.flush()
        for vehicle in vehicles:
            vehicle.company_id = company.id
        session.add_all(vehicles)
        session.flush()
        services.devices = [new_device_id() for _ in vehicles]
        rows = [
            {"id": device, "company_id": company.id, "label": vehicle.name, "vehicle_id": vehicle.id}
            for device, vehicle in zip(services.devices, vehicles, strict=True)
        ]
        session.execute(insert(Device), rows)
        session.commit()
        plugin_file.write(services.mosquitto.plugin_file, session, services.mqtt_key)
    _add_watcher(services)


def _add_watcher(services: BenchServices) -> None:
    path = services.mosquitto.plugin_file
    state = json.loads(path.read_text())
    acls = [
        {"acltype": acltype, "topic": "#", "priority": 0, "allow": True}
        for acltype in ("subscribePattern", "publishClientReceive")
    ]
    state["roles"].append({"rolename": WATCHER, "acls": acls})
    state["clients"].append(plugin_file.user_document(roles.User(WATCHER, (WATCHER,)), services.mqtt_key))
    path.write_text(json.dumps(state))


@contextmanager
def ingest(services: BenchServices) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real ingest process; it is on the broker, which drops messages from before its first session."""
    port = free_port()
    environment = {**os.environ, **services.environment, "MILEPOST_INGEST_METRICS_PORT": str(port)}
    command = [sys.executable, "-m", "milepost", "ingest"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_subscribed(process, port)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_subscribed(process: subprocess.Popen[bytes], port: int) -> None:
    all_shards = f"milepost_ingest_connected_shards {len(SHARDS)}.0"
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
                if all_shards in answer.read().decode():
                    return
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit("ingest did not come up")
