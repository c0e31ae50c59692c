"""The quarantine's bounds in the database: over workers, restarts and rollbacks; who reads the counts."""

import hashlib
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from core.models.company import Company
from core.models.fleet import Device
from core.operations import erasure
from core.records import quarantine
from core.records.quarantine import Quarantined
from core.records.quarantine_bounds import COMPANY, DEVICE, LAST_BYTES, MAXIMUM_RAW_BYTES
from core.rules.enums import Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, bearer

NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ALERT = "alert=quarantine_full"


@pytest.fixture
def unit(session: Session) -> Device:
    made = factories.device(session, factories.company(session))
    session.commit()
    return made


def refused(device: Device, raw: bytes = b"{", **values: Any) -> Quarantined:
    known: dict[str, Any] = {"company_id": device.company_id, "device_id": device.id}
    reported: dict[str, Any] = {
        "topic": f"up/3/{device.id}/location",
        "raw": raw,
        "reason": "bad_json",
        "detail": "d",
    }
    return Quarantined(**known | reported | values)


def keep(session: Session, messages: list[Quarantined], at: datetime = NOON) -> None:
    quarantine.keep(session, messages, at)
    session.commit()


def rows(session: Session) -> list[Any]:
    session.rollback()
    return list(session.execute(text("SELECT *, octet_length(raw) AS cut FROM quarantine ORDER BY id")))


def counted(session: Session, device_id: str | None) -> Any:
    session.rollback()
    query = text("SELECT * FROM quarantine_count WHERE device_id IS NOT DISTINCT FROM :device ORDER BY hour")
    return session.execute(query, {"device": device_id}).all()


def test_each_batch_counts_on_and_the_newest_is_the_last(session: Session, unit: Device) -> None:
    for batch in range(3):
        keep(session, [refused(unit, f"{batch}-{n}".encode()) for n in range(80)])
    found = rows(session)
    assert [bytes(row.raw) for row in found[: DEVICE.rows]] == [
        f"{n // 80}-{n % 80}".encode() for n in range(DEVICE.rows)
    ]
    assert [bytes(row.raw) for row in found[DEVICE.rows :]] == [b"2-79"]
    (count,) = counted(session, unit.id)
    assert (count.kept_rows, count.not_kept_rows, count.last_id) == (DEVICE.rows, 140, found[-1].id)


def test_a_new_hour_begins_anew(session: Session, unit: Device) -> None:
    keep(session, [refused(unit)] * 150)
    keep(session, [refused(unit)] * 150, NOON + timedelta(hours=1))
    assert len(rows(session)) == 2 * (DEVICE.rows + 1)
    assert [count.not_kept_rows for count in counted(session, unit.id)] == [50, 50]


def test_a_cut_message_keeps_its_true_length_and_digest(session: Session, unit: Device) -> None:
    raw = bytes(range(256)) * 2_000
    keep(session, [refused(unit, raw, topic="up/3/x/" + "y" * 60_000)] * 10)
    first, *_middle, last = rows(session)
    assert (first.cut, last.cut) == (MAXIMUM_RAW_BYTES, LAST_BYTES)
    for row in (first, last):
        assert (row.raw_bytes, bytes(row.raw_sha256)) == (len(raw), hashlib.sha256(raw).digest())
        assert len(row.topic) == quarantine.MAXIMUM_TOPIC


def test_two_workers_at_once_keep_no_more_than_one(
    session: Session, sessions: sessionmaker[Session], unit: Device
) -> None:
    others = [factories.device(session, session.get_one(Company, unit.company_id)) for _ in range(40)]
    session.commit()
    batch = [refused(device) for device in (unit, *others) for _ in range(60)]
    start = threading.Barrier(2)

    def work(messages: list[Quarantined]) -> None:
        start.wait()
        for part in range(0, len(messages), 100):
            with sessions() as own:
                keep(own, messages[part : part + 100])

    threads = [threading.Thread(target=work, args=(order,)) for order in (batch, batch[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (company,) = counted(session, None)
    devices = session.execute(
        text("SELECT sum(kept_rows), sum(not_kept_rows) FROM quarantine_count WHERE device_id IS NOT NULL")
    ).one()
    assert company.kept_rows == COMPANY.rows
    assert sum(devices) == 2 * len(batch)
    # Of each device over its own bound the last one has a row too; of the company one row.
    assert COMPANY.rows <= len(rows(session)) <= COMPANY.rows + 1


def test_unknown_devices_are_bounded_together(session: Session, unit: Device) -> None:
    strangers = [refused(unit, company_id=None, device_id=f"stranger{n}") for n in range(COMPANY.rows + 500)]
    keep(session, strangers)
    assert len(rows(session)) == COMPANY.rows + 1
    assert counted(session, None)[0].not_kept_rows == 500


def test_a_full_quarantine_is_logged_hourly_after_the_commit(
    session: Session, sessions: sessionmaker[Session], unit: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with sessions() as rolled_back:
        quarantine.keep(rolled_back, [refused(unit)] * 150, NOON)
    assert ALERT not in caplog.text
    for _ in range(3):
        keep(session, [refused(unit)] * 150)
    lines = [record.getMessage() for record in caplog.records if ALERT in record.getMessage()]
    assert lines == [f"{ALERT} company={unit.company_id} device={unit.id}"]


def test_the_list_shows_the_own_counts_only_and_metrics_the_sum(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = factories.device(session, factories.company(session))
    session.commit()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    keep(session, [refused(house.device, b"x" * 20)] * 130, hour)
    keep(session, [refused(stranger)] * 170, hour)
    page = client.get("/quarantine/", headers=bearer(settings, house.manager)).json()
    last = rows(session)[DEVICE.rows]
    assert page["not_kept"] == [
        {
            "device_id": house.device.id,
            "hour": hour.isoformat().replace("+00:00", "Z"),
            "messages": 30,
            "bytes": 600,
            "last_id": last.id,
        }
    ]
    assert page["items"][0]["id"] == last.id
    assert page["items"][0]["raw_sha256"] == hashlib.sha256(b"x" * 20).hexdigest()
    assert {item["device_id"] for item in page["items"]} == {house.device.id}
    assert "milepost_quarantine_not_kept 100.0" in client.get("/metrics").text


def test_rows_of_the_version_before_are_whole(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    session.execute(
        text(
            "INSERT INTO quarantine (company_id, topic, raw, reason, detail, received_at)"
            " VALUES (:company, 't', 'abc', 'r', 'd', now())"
        ),
        {"company": house.company.id},
    )
    session.commit()
    (item,) = client.get("/quarantine/", headers=bearer(settings, house.manager)).json()["items"]
    assert (item["raw_bytes"], item["raw_sha256"]) == (3, hashlib.sha256(b"abc").hexdigest())


def test_erasing_a_customer_removes_truncated_quarantine_rows(session: Session, house: House) -> None:
    customer_id = house.customer.customer_id
    assert customer_id is not None
    delivery = factories.delivery(session, house.company, Status.FAILED, customer_id=customer_id)
    house.delivery.status = Status.FAILED
    session.commit()
    long = b'{"reason": "' + b"Nora " * 30_000 + f'", "delivery": {delivery.id}}}'.encode()
    status = f"up/3/{house.device.id}/status"
    keep(
        session,
        [
            refused(house.device, long, topic=status),
            refused(house.device, long, topic=f"{status}/event"),
            refused(house.device, b'{"delivery": 999999}', topic=status),
            refused(house.device, b"x" * 100_000),
        ],
    )
    manager = factories.actor(house.company, house.manager)
    erasure.erase(session, manager, customer_id, NOON)
    session.commit()
    assert [bytes(row.raw)[:15] for row in rows(session)] == [b'{"delivery": 99', b"x" * 15]
