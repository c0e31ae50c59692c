"""Devices that send nothing but garbage, at real ingest processes: the database grows by its bounds only."""

import json
import os
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.identities import SHARDS, shard_of
from core.models.fleet import Device
from core.records.quarantine_bounds import DEVICE, LAST_BYTES
from tests.support import factories
from tests.support.devices import DeviceClient, device, fix
from tests.support.services.mosquitto import Broker
from tests.support.services.processes import MilepostProcess, Processes

MESSAGES = 100
SIZE = 500_000


@pytest.fixture
def units(session: Session, broker: Broker) -> list[str]:
    """Two devices of one company, each of another worker of two."""
    company = factories.company(session)
    vehicle = factories.vehicle(session, company)
    found: dict[int, Device] = {}
    while len(found) < 2:
        made = factories.device(session, company, vehicle_id=vehicle.id)
        found.setdefault(SHARDS.index(shard_of(made.id)) % 2, made)
    session.commit()
    broker.rewrite(session)
    return [found[worker].id for worker in (0, 1)]


def start(processes: Processes, worker: int) -> MilepostProcess:
    process = processes.start("ingest", "--worker", str(worker), "--workers", "2")
    process.wait_for(f"connected shard={SHARDS[14 + worker]}")
    return process


def flood(client: DeviceClient, number: int) -> None:
    """Garbage, each answered with its reason before the next one."""
    for _ in range(number):
        answer = client.ask(os.urandom(SIZE))
        assert answer == {"result": "rejected", "reason": "bad_json"}


def one(session: Session, query: str) -> Any:
    session.rollback()
    return session.execute(text(query)).one()


def test_garbage_fills_the_database_by_its_bounds_only_over_a_restart(
    units: list[str], broker: Broker, processes: Processes, session: Session
) -> None:
    workers = [start(processes, worker) for worker in (0, 1)]
    with ExitStack() as stack:
        clients = [stack.enter_context(device(broker, unit)) for unit in units]
        for client in clients:
            flood(client, MESSAGES // 2)
        for worker in workers:
            worker.kill()
        workers += [start(processes, worker) for worker in (0, 1)]
        for client in clients:
            flood(client, MESSAGES // 2)
            assert client.ask(fix(0))["result"] in {"stored", "duplicate"}
    hours, kept, not_kept, not_kept_bytes = one(
        session,
        "SELECT count(*), sum(kept_rows), sum(not_kept_rows), sum(not_kept_bytes)"
        " FROM quarantine_count WHERE device_id IS NOT NULL",
    )
    assert kept + not_kept == 2 * MESSAGES
    assert not_kept_bytes == not_kept * SIZE
    rows, size = one(session, "SELECT count(*), sum(octet_length(raw)) FROM quarantine")
    assert rows == kept + hours
    assert size <= hours * (DEVICE.raw_bytes + LAST_BYTES)
    output = "".join(worker.output() for worker in workers)
    # One line per device and hour; a test at the turn of an hour sees two.
    assert output.count("alert=quarantine_full") == hours
    for unit in units:
        assert f"device={unit}" in output


def test_status_requests_of_one_phone_are_bounded_too(
    session: Session, broker: Broker, processes: Processes
) -> None:
    company = factories.company(session)
    phone = factories.device(session, company, driver_id=factories.driver(session, company).id)
    session.commit()
    broker.rewrite(session)
    ingest = processes.start("ingest")
    ingest.wait_for("connected shard=f")
    wrong = json.dumps({"delivery": 999_999, "status": "delivered", "pad": "x" * 5_000}).encode()
    with device(broker, phone.id) as client:
        reasons = [client.ask(wrong, "status")["reason"] for _ in range(DEVICE.rows + 50)]
    assert set(reasons) <= {"NotFound", "too_many_requests"}
    hours, kept, not_kept = one(
        session,
        "SELECT count(*), sum(kept_rows), sum(not_kept_rows)"
        " FROM quarantine_count WHERE device_id IS NOT NULL",
    )
    assert kept + not_kept == len(reasons)
    assert kept <= hours * DEVICE.rows
    assert one(session, "SELECT count(*) FROM quarantine")[0] <= kept + hours
