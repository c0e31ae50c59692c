"""Data past its retention period is purged in small parts; nothing else is, and no transaction waits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, null, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from core.database import partitions
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.record import AuditEntry, Outbox, Quarantine
from core.operations import retention
from core.rules.enums import CheckpointKind, Status
from core.settings import Settings
from core.trips import reading as trip_reading
from jobs.schedule.run import JobRun
from jobs.schedule.table import JOBS
from jobs.tasks import retention as job
from jobs.tasks.retention import Removed, enforce
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, bearer
from tests.support.services.settings import PROJECT
from tests.support.waiting import wait_until

NOW = datetime.now(UTC)
ADD = """
INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect)
SELECT :vehicle, CAST(:start AS timestamptz) + i * interval '1 s', 52 + i * 0.0003, 13, now(), false
FROM generate_series(0, :count - 1) i
"""
REFERRING = """
SELECT c.conrelid::regclass::text, c.confdeltype::text FROM pg_constraint c
WHERE c.contype = 'f' AND c.confrelid = :table ::regclass
"""
TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def drive(session: Session, vehicle: Vehicle, start: datetime, count: int = 3) -> None:
    """Fixes a second apart, about 33 m each: faster ones are held for wild."""
    partitions.make(session, [partitions.month_start(start), partitions.month_start(start, 1)])
    session.execute(text(ADD), {"vehicle": vehicle.id, "start": start, "count": count})


def van(session: Session, days: int | None, *starts: datetime) -> Vehicle:
    """Of a company of its own that keeps fixes for so long, with three fixes at each of the times."""
    # A plain None would be the column's default.
    company = factories.company(session, fixes_kept_days=null() if days is None else days)
    vehicle = factories.vehicle(session, company)
    for start in starts:
        drive(session, vehicle, start)
    return vehicle


def fixes(session: Session, vehicle: Vehicle) -> list[datetime]:
    session.rollback()
    query = "SELECT DISTINCT date_trunc('hour', fix_time) FROM position WHERE vehicle_id = :id ORDER BY 1"
    return list(session.scalars(text(query), {"id": vehicle.id}))


def hours(*instants: datetime) -> list[datetime]:
    return sorted(instant.replace(minute=0, second=0, microsecond=0) for instant in instants)


def run(sessions: sessionmaker[Session]) -> Removed:
    return enforce(sessions, threading.Event(), NOW)


def test_a_partition_past_every_retention_is_dropped(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    long, short = van(session, 100, days_ago(200), days_ago(1)), van(session, 50, days_ago(200))
    session.commit()
    before = len(partitions.present(session.connection()))
    removed = run(sessions)
    assert removed.months >= 1
    assert removed.fixes == 0
    assert fixes(session, long) == hours(days_ago(1))
    assert fixes(session, short) == []
    assert len(partitions.present(session.connection())) == before - removed.months
    assert not run(sessions)


def test_who_keeps_for_ever_keeps_the_month_and_others_lose_their_rows(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    ever = van(session, None, days_ago(400), days_ago(50))
    short = van(session, 30, days_ago(400), days_ago(32), days_ago(29))
    neighbour = factories.vehicle(session, session.get_one(Company, ever.company_id))
    drive(session, neighbour, days_ago(400))
    session.commit()
    assert run(sessions) == Removed(fixes=6)
    assert fixes(session, ever) == hours(days_ago(400), days_ago(50))
    assert fixes(session, neighbour) == hours(days_ago(400))
    assert fixes(session, short) == hours(days_ago(29))
    assert not run(sessions)


def test_a_partition_that_late_fixes_need_is_emptied_by_rows(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    """A month that late fixes may still need is emptied by rows."""
    last_month = partitions.month_start(NOW) - timedelta(days=3)
    lone = van(session, 1, last_month, NOW - timedelta(minutes=5))
    session.commit()
    assert run(sessions) == Removed(fixes=3 if NOW.day > 1 else 0)
    assert hours(NOW - timedelta(minutes=5))[0] in fixes(session, lone)


def test_who_chooses_meanwhile_to_keep_more_loses_nothing(
    session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run takes hours; it began when the fixes were still to go."""
    saved = [van(session, days, days_ago(200), days_ago(100)) for days in (50, 90)]
    session.commit()
    measure = retention.measure

    def meanwhile(measuring: Session, **known: Any) -> int:
        with sessions.begin() as other:
            other.execute(text("UPDATE company SET fixes_kept_days = NULL"))
        return measure(measuring, **known)

    monkeypatch.setattr(retention, "measure", meanwhile)
    assert run(sessions) == Removed()
    assert [fixes(session, vehicle) for vehicle in saved] == [hours(days_ago(200), days_ago(100))] * 2
    assert set(session.scalars(text("SELECT fixes_removed_before FROM company"))) == {None}


def test_rows_go_in_small_parts_by_the_key(
    session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "FIXES", 10)
    van(session, None)
    short = van(session, 30)
    drive(session, short, days_ago(40), count=35)
    # Two places in one second: neither is left behind.
    session.execute(text("UPDATE position SET fix_time = date_trunc('minute', fix_time)"))
    session.commit()
    assert run(sessions).fixes == 35


def test_a_run_that_is_stopped_does_nothing_more(session: Session, sessions: sessionmaker[Session]) -> None:
    van(session, None)
    short = van(session, 30, days_ago(40))
    session.commit()
    stop = threading.Event()
    stop.set()
    assert not enforce(sessions, stop, NOW)
    assert fixes(session, short) == hours(days_ago(40))


@contextmanager
def reading(engine: Engine) -> Iterator[None]:
    """A session that has read `position` in a transaction that is still open."""
    with engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM position"))
        yield


def is_detaching(engine: Engine) -> bool:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE query LIKE 'ALTER TABLE position DETACH%' AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def test_a_waiting_drop_of_a_partition_blocks_no_query(
    session: Session, sessions: sessionmaker[Session], engine: Engine
) -> None:
    lone = van(session, 100, days_ago(200))
    session.commit()
    with ThreadPoolExecutor(1) as pool:
        with reading(engine):
            dropping = pool.submit(run, sessions)
            wait_until(lambda: is_detaching(engine), what="the drop waits for the reader")
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            drive(session, lone, days_ago(1))
            session.commit()
            assert fixes(session, lone) == hours(days_ago(1))
            session.rollback()
            assert not dropping.done()
        assert dropping.result(30).months >= 1


def test_a_drop_that_was_cut_off_is_finished_by_the_next_run(
    session: Session, sessions: sessionmaker[Session], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    van(session, 100, days_ago(200))
    session.commit()
    before = len(partitions.present(session.connection()))
    session.rollback()
    with monkeypatch.context() as patch, reading(engine):
        patch.setattr(job, "DETACHED_WITHIN_S", 1)
        with pytest.raises(OperationalError):
            run(sessions)
    assert any(month.is_leaving for month in partitions.present(session.connection()))
    session.rollback()
    assert run(sessions).months >= 1
    months = partitions.present(session.connection())
    assert len(months) < before
    assert not any(month.is_leaving for month in months)


def test_a_month_detached_before_a_kill_is_dropped_by_the_next_run(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    van(session, 100, days_ago(200))
    session.commit()
    oldest = partitions.present(session.connection())[0].name
    session.execute(text(f"COMMENT ON TABLE {oldest} IS 'milepost: to be dropped'"))
    session.execute(text(f"ALTER TABLE position DETACH PARTITION {oldest}"))
    session.commit()
    assert run(sessions).months >= 1
    assert session.scalar(text("SELECT to_regclass(:name)"), {"name": oldest}) is None


def test_a_table_of_an_engines_loses_rows_only(session: Session, sessions: sessionmaker[Session]) -> None:
    lone = van(session, 100, days_ago(200), days_ago(1))
    for statement in (
        "CREATE TABLE plain (LIKE position INCLUDING ALL)",
        "INSERT INTO plain SELECT * FROM position",
        "DROP TABLE position",
        "ALTER TABLE plain RENAME TO position",
    ):
        session.execute(text(statement))
    session.commit()
    assert run(sessions) == Removed(fixes=3)
    assert fixes(session, lone) == hours(days_ago(1))


def driven_delivery(session: Session, house: House, start: datetime) -> Delivery:
    """Ended ten minutes after its start, with ten fixes, about 300 metres."""
    delivery = factories.delivery(
        session,
        house.company,
        Status.DELIVERED,
        vehicle_id=house.vehicle.id,
        started_at=start,
        ended_at=start + timedelta(minutes=10),
    )
    drive(session, house.vehicle, start, count=10)
    session.commit()
    return delivery


def test_a_report_keeps_its_distance_and_says_that_the_fixes_are_gone(
    client: TestClient, house: House, session: Session, sessions: sessionmaker[Session], settings: Settings
) -> None:
    van(session, None)
    house.company.fixes_kept_days = 30
    old, recent = (driven_delivery(session, house, days_ago(days)) for days in (40, 20))
    headers = bearer(settings, house.manager)

    def read(delivery: Delivery, what: str) -> Any:
        answer = client.get(f"/deliveries/{delivery.id}/{what}/", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    before = [read(delivery, "report")["driven"] for delivery in (old, recent)]
    assert before[0]["distance_m"] > 250
    assert before[0]["removed_before"] is None
    assert run(sessions).fixes == 10
    after = [read(delivery, "report")["driven"] for delivery in (old, recent)]
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=30)
    gone = midnight.isoformat().replace("+00:00", "Z")
    assert after == [before[0] | {"removed_before": gone}, before[1]]
    track = read(old, "track")
    assert (track["fixes"], track["removed_before"]) == ([], gone)
    assert len(read(recent, "track")["fixes"]) == 10
    assert read(recent, "track")["removed_before"] is None


def test_a_delivery_that_ends_after_its_fixes_went_does_not_pretend(
    client: TestClient, house: House, session: Session, sessions: sessionmaker[Session], settings: Settings
) -> None:
    van(session, None)
    house.company.fixes_kept_days = 30
    forgotten = driven_delivery(session, house, days_ago(40))
    session.execute(text("UPDATE delivery SET status = 'in_transit', ended_at = NULL"))
    session.commit()
    run(sessions)
    path = f"/deliveries/{forgotten.id}/report/"
    driven = client.get(path, headers=bearer(settings, house.manager)).json()["driven"]
    assert driven["is_complete"] is False
    assert driven["removed_before"] is not None


def test_a_trip_whose_first_fixes_were_purged_uses_its_checkpoints(
    client: TestClient, house: House, session: Session, sessions: sessionmaker[Session], settings: Settings
) -> None:
    """It was under way for longer than fixes are kept: what is left of them is no distance of it."""
    van(session, None)
    house.company.fixes_kept_days = 30
    delivery = driven_delivery(session, house, days_ago(40))
    session.execute(text("UPDATE delivery SET status = 'in_transit', ended_at = NULL"))
    passed(session, delivery)
    drive(session, house.vehicle, days_ago(20), count=2)
    session.commit()
    run(sessions)
    session.execute(text("UPDATE delivery SET status = 'delivered', ended_at = now()"))
    session.commit()
    path, headers = f"/deliveries/{delivery.id}/report/", bearer(settings, house.manager)
    for _ in range(2):  # before it is written down, and after
        driven = client.get(path, headers=headers).json()["driven"]
        assert driven["is_complete"] is False
        assert driven["distance_m"] > 900
        run(sessions)
    assert session.scalar(text("SELECT driven_m FROM delivery WHERE driven_m IS NOT NULL"))


def test_a_trip_of_too_many_fixes_keeps_its_checkpoints_distance(
    house: House, session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trip_reading, "MAXIMUM_SCANNED", 5)
    van(session, None)
    house.company.fixes_kept_days = 30
    delivery = driven_delivery(session, house, days_ago(40))
    passed(session, delivery)
    session.commit()
    assert run(sessions).fixes == 10
    session.refresh(delivery)
    assert (delivery.driven_m or 0) > 900


def passed(session: Session, delivery: Delivery) -> None:
    """Ten location checkpoints a minute apart, about a kilometre."""
    assert delivery.started_at is not None
    for minute in range(10):
        factories.checkpoint(
            session,
            delivery,
            kind=CheckpointKind.LOCATION,
            occurred_at=delivery.started_at + timedelta(minutes=minute),
            latitude=52 + minute * 0.001,
            longitude=13.0,
        )


def ended(session: Session, company: Company, at: datetime, **values: Any) -> Delivery:
    """With a load order of its own and a notification."""
    delivery = factories.delivery(
        session,
        company,
        Status.DELIVERED,
        started_at=at,
        ended_at=at,
        load_order_id=factories.load_order(session, company).id,
        **values,
    )
    checkpoint = factories.checkpoint(session, delivery)
    factories.notification(session, company, delivery_id=delivery.id, checkpoint_id=checkpoint.id)
    return delivery


def test_ended_deliveries_go_with_all_that_hangs_on_them(
    session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "DELIVERIES", 2)
    company = factories.company(session, deliveries_kept_days=60)
    old = [ended(session, company, days_ago(70)) for _ in range(3)]
    shown = ended(session, company, days_ago(70), fact_retained=True)
    recent = ended(session, company, days_ago(50))
    unused, recent.load_order_id = recent.load_order_id, old[0].load_order_id
    still_open = factories.delivery(session, company, created_at=days_ago(70))
    other = ended(session, factories.company(session), days_ago(70))
    session.commit()
    assert run(sessions) == Removed(deliveries=3)
    left = {delivery.id for delivery in (shown, recent, still_open, other)}
    session.expire_all()
    assert set(session.scalars(text("SELECT id FROM delivery"))) == left
    assert set(session.scalars(text("SELECT delivery_id FROM delivery_checkpoint"))) == left
    orders = set(session.scalars(text("SELECT id FROM load_order")))
    assert orders == {d.load_order_id for d in (shown, recent, other)} | {unused}
    assert set(session.scalars(text("SELECT load_order_id FROM load_item"))) == orders


@pytest.mark.parametrize("table", ["delivery", "delivery_checkpoint"])
def test_whatever_refers_to_a_delivery_goes_with_it(session: Session, table: str) -> None:
    for referring, on_delete in session.execute(text(REFERRING), {"table": table}):
        is_named = any(sql.startswith(f"DELETE FROM {referring} ") for sql in retention.DEPENDENT_ROWS)
        assert is_named or on_delete == "c", f"{referring} keeps its deliveries: name it in DEPENDENT_ROWS"


def test_records_of_use_go_by_their_age(
    session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "ROWS", 3)
    company = factories.company(session)
    session.commit()
    run(sessions)
    session.execute(text("DELETE FROM audit_entry"))

    def add(days: float) -> None:
        at = days_ago(days)
        session.add(
            Quarantine(company_id=company.id, topic="t", raw=b"", reason="r", detail="", received_at=at)
        )
        session.add(Outbox(company_id=company.id, kind="k", payload={}, parked_at=at, created_at=at))
        session.flush()

    for days in (400, 300, 200, 100, 91, 89, 1):
        add(days)
    for days in (731, 729):
        entry = {"actor_kind": "user", "action": "a", "subject_kind": "user", "changes": {}}
        session.add(AuditEntry(company_id=company.id, at=days_ago(days), **entry))
        session.flush()
    session.add(Outbox(company_id=company.id, kind="k", payload={}, created_at=days_ago(400)))
    session.commit()
    assert run(sessions) == Removed(others=11)
    assert session.scalar(text("SELECT count(*) FROM quarantine")) == 2
    assert session.scalar(text("SELECT count(*) FROM outbox")) == 3
    assert session.scalar(text("SELECT count(*) FROM audit_entry")) == 1


def test_how_long_each_table_is_kept_is_written_down(session: Session) -> None:
    tables = session.scalars(text(TABLES)).all()
    section = (PROJECT / "ARCHITECTURE.md").read_text().partition("## What is kept how long")[2]
    missing = [table for table in tables if f"`{table}`" not in section.partition("\n## ")[0]]
    assert not missing


def test_managers_set_how_long_and_the_audit_log_shows_it(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.manager)
    assert client.get("/company/", headers=headers).json()["fixes_kept_days"] == 365
    answer = client.patch(
        "/company/", json={"fixes_kept_days": 60, "deliveries_kept_days": 730}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["fixes_kept_days"], answer.json()["deliveries_kept_days"]) == (60, 730)
    changes = client.get("/audit/", headers=headers).json()["items"][0]["changes"]
    assert changes == {
        "fixes_kept_days": {"before": 365, "after": 60},
        "deliveries_kept_days": {"before": None, "after": 730},
    }
    ever = client.patch("/company/", json={"fixes_kept_days": None}, headers=headers).json()
    assert ever["fixes_kept_days"] is None
    for field, value in (
        ("fixes_kept_days", 6),
        ("fixes_kept_days", 36_501),
        ("fixes_kept_days", "60"),
        ("deliveries_kept_days", 29),
    ):
        assert_bad_field(client.patch("/company/", json={field: value}, headers=headers), field)


def test_the_schedule_runs_it(session: Session, sessions: sessionmaker[Session]) -> None:
    van(session, None)
    short = van(session, 30, days_ago(40))
    session.commit()
    (found,) = [listed for listed in JOBS if listed.name == "retention"]
    found.body(JobRun("retention", sessions, threading.Event()))
    assert fixes(session, short) == []
