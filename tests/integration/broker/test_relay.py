"""The outbox reaches the broker: in order, at least once, whatever dies in between."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from broker import relay as relay_module
from broker.access_control.control import Control
from broker.access_control.plugin_file import role_document
from broker.access_control.roles import SERVICE_ROLES
from broker.connection import login
from broker.relay import Relay
from core.database import dedicated
from core.identities import PROVISIONER_USER
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Device
from core.models.record import Outbox
from core.operations import retained_facts
from core.records import outbox
from core.records.outbox import OutboxKind
from core.rules.enums import Status
from core.rules.facts import AlertFact, StatusFact
from core.settings import Settings
from tests.support import factories
from tests.support.log_lines import json_lines
from tests.support.mqtt_client import MqttClient, connected
from tests.support.services.mosquitto import Broker
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until


@contextmanager
def relaying(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[None]:
    """A relay at work on a connection of its own."""
    stop = threading.Event()
    connection = dedicated.connect(settings, "jobs-leader")
    worker = threading.Thread(target=Relay(connection, sessions, settings, stop).run)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)
        connection.close()
        assert not worker.is_alive()


@pytest.fixture
def acme(session: Session, broker: Broker) -> Company:
    company = factories.company(session, slug="acme")
    session.commit()
    broker.rewrite(session)
    return company


@pytest.fixture
def watcher(acme: Company, broker: Broker) -> Iterator[MqttClient]:
    with connected(broker, "api-0") as client:
        assert client.subscribe("fleet/acme/#") == 1
        yield client


def announce(session: Session, company: Company, delivery: int, checkpoint: int) -> None:
    now = datetime.now(UTC)
    fact = StatusFact(
        company=company.slug,
        delivery=delivery,
        checkpoint=checkpoint,
        kind="status",
        status="pending",
        occurred_at=now,
        recorded_at=now,
    )
    outbox.add_fact(session, company.id, fact)


def waiting_rows(session: Session) -> int:
    session.rollback()
    return session.scalar(select(func.count()).select_from(Outbox).where(Outbox.parked_at.is_(None))) or 0


def wait_until_empty(session: Session, timeout: float = 20) -> None:
    wait_until(lambda: waiting_rows(session) == 0, timeout, "the outbox is empty")


def cut_leader(session: Session) -> bool:
    """End the leader's connection; returns when it is gone and its lock is free. False: there was none."""
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :name"
    ended = session.scalars(text(cut), {"name": "milepost-jobs-leader"}).all()
    session.rollback()
    assert all(ended)
    return bool(ended)


def checkpoints(client: MqttClient, count: int) -> list[tuple[int, int]]:
    """``(delivery, checkpoint)`` of the next facts."""
    facts = [json.loads(client.receive()[1]) for _ in range(count)]
    return [(fact["delivery"], fact["checkpoint"]) for fact in facts]


def test_rows_are_published_in_order_and_deleted(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, watcher: MqttClient
) -> None:
    published = [(1 + number % 3, number) for number in range(1, 351)]
    for delivery, checkpoint in published:
        announce(session, acme, delivery, checkpoint)
    session.commit()
    with relaying(settings, sessions):
        assert checkpoints(watcher, 350) == published
        wait_until_empty(session)


def test_a_notification_wakes_it_before_the_next_poll(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    acme: Company,
    watcher: MqttClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "POLL_S", 3.0)
    with relaying(settings, sessions):
        for checkpoint in range(1, 4):  # the first may meet the relay at work, the later ones find it waiting
            announce(session, acme, 1, checkpoint)
            session.commit()
            watcher.receive(timeout=1.5)


def test_what_is_retained_is_what_the_contract_says(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, broker: Broker
) -> None:
    announce(session, acme, 1, 1)
    announce(session, acme, 2, 2)
    alert = AlertFact(company="acme", kind="speeding", vehicle=7, detail="130", occurred_at=datetime.now(UTC))
    outbox.add_fact(session, acme.id, alert)
    outbox.clear_retained(session, OutboxKind.DELIVERY_GONE, acme.id, "acme", 2)
    outbox.clear_retained(session, OutboxKind.VEHICLE_GONE, acme.id, "acme", 7)
    session.commit()
    with connected(broker, "api-1") as api:
        api.publish("fleet/acme/vehicles/7/position", b"old", retain=True)
    with relaying(settings, sessions):
        wait_until_empty(session)
    with connected(broker, "api-2") as late:
        late.subscribe("fleet/acme/#")
        assert late.receive()[0] == "fleet/acme/deliveries/1/status"
        late.subscribe("fleet/acme/alerts/#")  # its SUBACK comes after all retained messages
        assert {topic for topic, _, _ in late.received()} <= {"fleet/acme/deliveries/1/status"}


def test_a_row_refused_five_times_is_dead_lettered_and_blocks_none(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, watcher: MqttClient
) -> None:
    announce(session, acme, 1, 1)
    bad = {"company": "acme/#", "id": 1}
    session.add(Outbox(company_id=acme.id, kind="delivery_gone", payload=bad, request_id="call-1"))
    announce(session, acme, 2, 2)
    session.commit()
    with json_lines("broker.relay") as lines, relaying(settings, sessions):
        assert checkpoints(watcher, 2) == [(1, 1), (2, 2)]
        wait_until_empty(session)
    dead_letter = session.scalars(select(Outbox)).one()
    assert dead_letter.parked_at is not None
    assert dead_letter.attempts == 5
    assert "acme/#" in (dead_letter.error or "")
    about_it = [line.get("request_id") for line in lines() if line["fields"].get("row") == dead_letter.id]
    assert about_it == ["call-1"] * 5
    assert len([line for line in lines() if "request_id" in line]) == 5


def test_a_puback_that_refuses_is_no_success(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    acme: Company,
    watcher: MqttClient,
) -> None:
    with relaying(settings, sessions):
        announce(session, acme, 1, 1)
        session.commit()
        assert checkpoints(watcher, 1) == [(1, 1)]
        with Control(login(settings, PROVISIONER_USER)) as control:
            relay_role = next(role for role in SERVICE_ROLES if role.name == "relay")
            control.change({"command": "modifyRole", "rolename": "relay", "acls": []})
            announce(session, acme, 1, 2)
            session.commit()
            attempts = select(Outbox.attempts)
            wait_until(lambda: session.scalars(attempts).first(), what="a refusal is counted")
            control.change({"command": "modifyRole", **role_document(relay_role)})
        assert checkpoints(watcher, 1) == [(1, 2)]
        wait_until_empty(session)


def test_a_broker_that_is_away_is_no_refusal(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, broker: Broker
) -> None:
    broker.stop()
    announce(session, acme, 1, 1)
    session.commit()
    with relaying(settings, sessions):
        with pytest.raises(TimeoutError):
            wait_until(lambda: waiting_rows(session) == 0, 1.5)
        assert session.scalars(select(Outbox.attempts)).one() == 0
        broker.start()
        wait_until_empty(session)


def test_after_a_broker_restart_open_deliveries_are_announced_again(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, broker: Broker
) -> None:
    now = datetime.now(UTC)
    day = timedelta(hours=24)
    open_one = factories.delivery(session, acme, Status.IN_TRANSIT, fact_retained=True)
    newest = factories.checkpoint(session, open_one, kind="assignment")
    factories.checkpoint(session, open_one, kind="location")
    ended = factories.delivery(session, acme, Status.DELIVERED, ended_at=now, fact_retained=True)
    factories.delivery(session, acme, Status.DELIVERED, ended_at=now - day, fact_retained=True)
    factories.delivery(session, acme, Status.FAILED, ended_at=now, fact_retained=False)
    session.commit()
    with relaying(settings, sessions):
        broker.kill()  # it loses what it had not saved yet
        broker.start()
        with connected(broker, "api-0") as watcher:
            watcher.subscribe("fleet/acme/#")
            facts = {json.loads(watcher.receive()[1])["delivery"] for _ in range(2)}
            assert facts == {open_one.id, ended.id}
    with connected(broker, "api-0") as late:
        late.subscribe(f"fleet/acme/deliveries/{open_one.id}/status")
        _, payload, is_retained = late.receive()
        assert is_retained
        assert json.loads(payload)["checkpoint"] == newest.id
        assert json.loads(payload)["kind"] == "assignment"


def test_announcing_again_skips_no_change_that_still_waits(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, watcher: MqttClient
) -> None:
    delivery = factories.delivery(session, acme, fact_retained=True)
    first = factories.checkpoint(session, delivery)
    second = factories.checkpoint(session, delivery)
    announce(session, acme, delivery.id, first.id)
    announce(session, acme, delivery.id, second.id)
    session.commit()
    with relaying(settings, sessions):
        assert checkpoints(watcher, 2) == [(delivery.id, first.id), (delivery.id, second.id)]


def test_rows_of_access_change_the_broker(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, broker: Broker
) -> None:
    with relaying(settings, sessions):
        announce(session, acme, 1, 1)
        session.commit()
        wait_until_empty(session)  # so it has reconciled, and learns of the device by its row only
        device: Device = factories.device(session, acme)
        outbox.sync_access(session, OutboxKind.DEVICE, acme.id, device.id)
        announce(session, acme, 1, 2)
        session.commit()
        wait_until_empty(session)
        with connected(broker, device.id) as client:
            assert client.connack is not None
            assert not client.connack.is_failure


def test_losing_the_leaders_connection_stops_the_relay(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company
) -> None:
    connection = dedicated.connect(settings, "jobs-leader")
    failure: list[BaseException] = []

    def run() -> None:
        try:
            Relay(connection, sessions, settings, threading.Event()).run()
        except psycopg2.Error as error:
            failure.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": connection.info.backend_pid})
    worker.join(5)
    assert failure


def test_killed_between_publish_and_delete_it_announces_again(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    acme: Company,
    watcher: MqttClient,
    processes: Processes,
) -> None:
    announce(session, acme, 1, 1)
    session.commit()
    with sessions() as holder:
        holder.execute(select(Outbox).with_for_update())  # it can read the row, publish it, but not delete it
        jobs = processes.start("jobs")
        assert checkpoints(watcher, 1) == [(1, 1)]
        jobs.kill()
        cut_leader(session)  # or the server would still carry out a DELETE that it was sent
    assert waiting_rows(session) == 1
    with relaying(settings, sessions):
        assert checkpoints(watcher, 1) == [(1, 1)]
        wait_until_empty(session)


def test_when_the_leader_dies_another_takes_over(
    session: Session, acme: Company, watcher: MqttClient, processes: Processes
) -> None:
    first = processes.start("jobs")
    first.wait_for("relay_connected")
    second = processes.start("jobs")
    second.wait_for("jobs_standing_by")
    assert "jobs_leading" not in second.output()
    first.kill()
    announce(session, acme, 1, 1)
    session.commit()
    assert checkpoints(watcher, 1) == [(1, 1)]
    assert "jobs_leading" in second.output()
    assert second.terminate() == 0
    assert "jobs_stopped" in second.output()


def test_a_leader_whose_connection_is_cut_leads_again(
    session: Session, acme: Company, processes: Processes
) -> None:
    jobs = processes.start("jobs")
    jobs.wait_for("relay_connected")
    assert cut_leader(session)
    jobs.wait_for("jobs_leading_ended")
    wait_until(lambda: jobs.output().count("relay_connected") == 2, what="it leads again")
    assert jobs.terminate() == 0


def test_a_day_after_its_end_a_deliverys_fact_is_cleared(
    session: Session, sessions: sessionmaker[Session], settings: Settings, acme: Company, broker: Broker
) -> None:
    now = datetime.now(UTC)
    old: Delivery = factories.delivery(
        session, acme, Status.DELIVERED, ended_at=now - timedelta(hours=24), fact_retained=True
    )
    new: Delivery = factories.delivery(
        session, acme, Status.DELIVERED, ended_at=now - timedelta(hours=23), fact_retained=True
    )
    session.commit()
    with connected(broker, "api-0") as api:
        for delivery in (old, new):
            api.publish(f"fleet/acme/deliveries/{delivery.id}/status", b"fact", retain=True)
    assert retained_facts.clear_ended(session, now) == 1
    session.commit()
    assert retained_facts.clear_ended(session, now) == 0
    with relaying(settings, sessions):
        wait_until_empty(session)
    with connected(broker, "api-0") as late:
        late.subscribe("fleet/acme/#")
        assert late.receive()[0] == f"fleet/acme/deliveries/{new.id}/status"
        assert late.received() == []


def test_a_broker_without_users_differs_from_one_that_is_away(
    broker: Broker,
    settings: Settings,
    session: Session,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(relay_module, "REFUSED_ALERT_S", 0.5)
    broker.stop()
    with relaying(settings, sessions):
        wait_until(lambda: caplog.text.count("relay_broker_away") >= 3, what="it was away for a while")
        assert "alert=broker_refuses_us" not in caplog.text
        broker.plugin_file.write_text(broker.plugin_file.read_text()[:4096])
        broker.start()
        wait_until(lambda: "alert=broker_refuses_us" in caplog.text, timeout=30, what="the alert")
        broker.rewrite(session)
        wait_until(lambda: "broker_lets_us_in_again" in caplog.text, timeout=30, what="its end")
    assert caplog.text.count("alert=broker_refuses_us") == 1
