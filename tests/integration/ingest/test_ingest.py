"""The worker on a real broker and a real database: stored, then shown, then acknowledged."""

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import mqtt5
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from broker import topics
from broker.connection import BrokerLogin, login
from core.database.engine import make_engine
from core.identities import ingest_user, shard_of
from core.models.company import Company
from core.models.fleet import Device, Vehicle
from core.records.quarantine_bounds import DEVICE
from core.rules.enums import Status
from core.rules.fix import FLAGS, RANGES
from core.settings import Settings
from ingest import connection as ingest_connection
from ingest import pipeline
from ingest.connection import Connection, ConnectionLost
from ingest.metrics import IngestMetrics
from ingest.pipeline import Pipeline
from ingest.receiver import ReceivedMessage, Receiver
from ingest.worker import Worker, shards_of
from tests.support import factories
from tests.support.devices import START, DeviceClient, device, fix
from tests.support.mqtt_client import connected
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until

Sessions = sessionmaker[Session]
TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'milepost-test' AND pid <> pg_backend_pid() AND datname = current_database()"
)


class EquippedCompany:
    """A company, a van with a GPS unit, a driver with a phone, and the van's delivery, all on the broker."""

    def __init__(self, session: Session, broker: Broker) -> None:
        self.company: Company = factories.company(session)
        self.vehicle: Vehicle = factories.vehicle(session, self.company)
        self.driver = factories.driver(session, self.company)
        self.gps: Device = factories.device(session, self.company, vehicle_id=self.vehicle.id)
        self.phone: Device = factories.device(session, self.company, driver_id=self.driver.id)
        self.delivery = factories.delivery(
            session, self.company, Status.PENDING, vehicle_id=self.vehicle.id, driver_id=self.driver.id
        )
        session.commit()
        broker.rewrite(session)


@pytest.fixture
def fleet(session: Session, broker: Broker) -> EquippedCompany:
    return EquippedCompany(session, broker)


@pytest.fixture
def worker(settings: Settings, sessions: Sessions, fleet: EquippedCompany) -> Iterator[Worker]:
    worker = Worker(settings, sessions, shards_of(0, 1), IngestMetrics())
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: worker.connected == 16)
    yield worker
    worker.stop()
    thread.join(15)
    assert not thread.is_alive()


@pytest.fixture
def gps(broker: Broker, fleet: EquippedCompany) -> Iterator[DeviceClient]:
    with device(broker, fleet.gps.id) as client:
        yield client


@pytest.fixture
def phone(broker: Broker, fleet: EquippedCompany) -> Iterator[DeviceClient]:
    with device(broker, fleet.phone.id) as client:
        yield client


def count(session: Session, table: str) -> int:
    session.rollback()
    rows: int = session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return rows


def refused(session: Session) -> int:
    """Kept or only counted."""
    session.rollback()
    query = "SELECT coalesce(sum(kept_rows + not_kept_rows), 0) FROM quarantine_count WHERE device_id <> ''"
    return int(session.execute(text(query)).scalar_one())


@pytest.mark.usefixtures("worker")
def test_each_measurement_is_stored_in_its_column(gps: DeviceClient, session: Session) -> None:
    sent = {name: low + 1.5 for name, low, _high in RANGES} | dict.fromkeys(FLAGS, True)
    assert gps.ask(fix(0, **sent))["result"] == "stored"
    row = session.execute(text("SELECT * FROM position")).mappings().one()
    assert {name: row[name] for name in sent} == sent
    assert row["attributes"] is None


@pytest.mark.usefixtures("worker")
def test_a_device_gets_the_result_of_its_fix(gps: DeviceClient, session: Session) -> None:
    assert gps.ask(fix(0, id="a")) == {"id": "a", "result": "stored"}
    assert count(session, "position") == 1
    assert gps.ask(fix(0, id="b")) == {"id": "b", "result": "duplicate"}
    assert gps.ask(fix(1, latitude=91, id="c")) == {"id": "c", "result": "rejected", "reason": "out_of_range"}
    assert gps.ask(b"{") == {"result": "rejected", "reason": "bad_json"}
    assert (count(session, "position"), count(session, "quarantine")) == (1, 2)


@pytest.mark.usefixtures("worker")
def test_an_array_is_answered_item_by_item(gps: DeviceClient) -> None:
    assert gps.ask([fix(0, id="a"), 7, fix(0, id="b")]) == {
        "results": [
            {"id": "a", "result": "stored"},
            {"result": "rejected", "reason": "bad_type"},
            {"id": "b", "result": "duplicate"},
        ]
    }
    assert gps.ask([]) == {"result": "rejected", "reason": "bad_type"}


@pytest.mark.usefixtures("worker")
def test_a_message_kept_whole_in_the_quarantine(
    gps: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    gps.ask(b'{"fix_time": \xff')
    row = session.execute(text("SELECT company_id, device_id, topic, raw, reason FROM quarantine")).one()
    assert tuple(row[:3]) == (fleet.company.id, fleet.gps.id, gps.topic())
    assert (bytes(row[3]), row[4]) == (b'{"fix_time": \xff', "bad_json")


@pytest.mark.usefixtures("worker")
def test_an_empty_message_says_nothing(gps: DeviceClient, session: Session) -> None:
    gps.send(b"", fix(0))
    wait_until(lambda: count(session, "position") == 1)
    assert count(session, "quarantine") == 0


def test_a_retained_fix_is_stored_and_removed_from_the_broker(
    worker: Worker, gps: DeviceClient, broker: Broker, session: Session
) -> None:
    shard, strange = shard_of(gps.id), f"{gps.topic()}/1"
    for topic in (gps.topic(), strange):
        assert gps.client.publish(topic, json.dumps(fix(1)).encode(), retain=True) < 0x80
    assert gps.ask(fix(2))["result"] == "stored"
    assert session.scalar(text("SELECT count(*) FROM position")) == 2
    worker.stop()
    wait_until(lambda: worker.connected == 0)
    with connected(broker, ingest_user(shard)) as reader:
        reader.subscribe(topics.shard_filter(shard))  # its SUBACK comes after all retained messages
        assert reader.received() == []


def test_what_is_kept_retained_but_was_never_queued_comes_every_minute(
    gps: DeviceClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue takes no more, while the retained copy stays in the broker."""
    monkeypatch.setattr(ingest_connection, "SWEEP_S", 0.0)
    shard = shard_of(gps.id)
    assert gps.client.publish(gps.topic(), json.dumps(fix(1)).encode(), retain=True) < 0x80
    connection = Connection(login(settings, ingest_user(shard)), topics.shard_filter(shard))
    try:
        for _ in range(3):
            assert one_message(connection).retain
            connection.keep_alive()
    finally:
        connection.close()


@pytest.mark.usefixtures("worker")
def test_the_newest_position_is_shown_retained_and_never_older(
    gps: DeviceClient, fleet: EquippedCompany, broker: Broker
) -> None:
    gps.ask(fix(100, speed_kmh=42.0))
    gps.ask(fix(50))
    gps.ask(fix(101))
    topic = topics.position(fleet.company.slug, fleet.vehicle.id)
    with connected(broker, "api-0") as watcher:
        watcher.subscribe(topic)
        received = watcher.receive()
        fact = json.loads(received[1])
        assert (received[0], received[2]) == (topic, True)
        assert (fact["vehicle"], fact["latitude"]) == (fleet.vehicle.id, fix(101)["latitude"])


@pytest.mark.usefixtures("worker")
def test_replies_go_to_the_devices_own_topic_only(
    gps: DeviceClient, fleet: EquippedCompany, broker: Broker
) -> None:
    with connected(broker, "api-0") as watcher:
        watcher.subscribe("fleet/#")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = f"fleet/{fleet.company.slug}/alerts/forged/1"
        gps.client.paho.publish(gps.topic(), json.dumps(fix(0)), 1, properties=properties)
        assert watcher.receive()[0] == topics.position(fleet.company.slug, fleet.vehicle.id)
        gps.ask(fix(1))
        topics_seen = {topic for topic, _payload, _retain in watcher.received()}
        assert topics_seen <= {topics.position(fleet.company.slug, fleet.vehicle.id)}


@pytest.mark.usefixtures("worker")
def test_a_drivers_phone_changes_a_status_and_repeats_it(
    phone: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    request = {"delivery": fleet.delivery.id, "status": "pickup_in_progress", "id": "r"}
    assert phone.ask(request, "status") == {"id": "r", "result": "stored"}
    assert phone.ask(request, "status") == {"id": "r", "result": "duplicate"}
    row = session.execute(
        text(
            "SELECT d.status, c.actor_driver_id, c.actor_device_id FROM delivery d"
            " JOIN delivery_checkpoint c ON c.delivery_id = d.id ORDER BY c.id DESC LIMIT 1"
        )
    ).one()
    assert tuple(row) == ("pickup_in_progress", fleet.driver.id, fleet.phone.id)
    assert count(session, "outbox") == 1
    assert (session.scalar(text("SELECT request_id FROM outbox")) or "").startswith("batch-")


@pytest.mark.usefixtures("worker")
def test_a_fix_sent_again_in_another_spelling_is_a_duplicate(gps: DeviceClient, session: Session) -> None:
    at = (START + timedelta(seconds=7)).strftime("%Y-%m-%dT%H:%M:%S")
    sent = fix(7, fix_time=f"{at}.123456789Z")
    assert gps.ask(sent) == {"result": "stored"}
    for again in (
        sent,
        sent | {"hdop": 1.5},
        sent | {"fix_time": f"{at}.123456Z"},
        sent | {"fix_time": f"{at},1234567+00", "hdop": 1.5},
    ):
        assert gps.ask(again) == {"result": "duplicate"}
    assert count(session, "position") == 1


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("skew_s", [0.2, 240, -0.5, -100_000])
def test_a_repeated_status_is_a_duplicate_whatever_the_phones_clock(
    phone: DeviceClient, fleet: EquippedCompany, session: Session, skew_s: float
) -> None:
    at = datetime.now(UTC) + timedelta(seconds=skew_s)
    pickup = {"delivery": fleet.delivery.id, "status": "pickup_in_progress", "occurred_at": at.isoformat()}
    later = pickup | {"status": "in_transit"}
    assert [phone.ask(one, "status")["result"] for one in (pickup, later)] == ["stored", "stored"]
    spelled = pickup | {"occurred_at": f"{at:%Y-%m-%dT%H:%M:%S.%f}789z"}
    answers = [phone.ask(one, "status") for one in (pickup, spelled, later, pickup)]
    assert answers == [{"result": "duplicate"}] * 4
    assert count(session, "quarantine") == 0


@pytest.mark.usefixtures("worker")
def test_ids_come_back_as_sent(gps: DeviceClient, phone: DeviceClient, fleet: EquippedCompany) -> None:
    assert gps.ask(fix(0, id=17)) == {"id": 17, "result": "stored"}
    assert gps.ask(fix(0, id="17")) == {"id": "17", "result": "duplicate"}
    mixed = gps.ask([fix(1, id=1), fix(2, id="2"), {"id": 3}, {"id": "4"}])["results"]
    assert [item["id"] for item in mixed] == [1, "2", 3, "4"]
    request = {"delivery": float(fleet.delivery.id), "status": "pickup_in_progress", "id": 18}
    assert phone.ask(request, "status") == {"id": 18, "result": "stored"}
    assert phone.ask(request | {"status": "delivered"}, "status")["id"] == 18


@pytest.mark.usefixtures("worker")
def test_minus_one_is_stored_as_unknown(gps: DeviceClient, session: Session) -> None:
    unknown = {"speed_kmh": -1, "course_deg": -1.0, "accuracy_m": -1}
    answers = [gps.ask(fix(0, **unknown)), gps.ask(fix(1, **unknown, hdop=9))]
    assert answers == [{"result": "stored"}, {"result": "stored"}]
    rows = session.execute(text("SELECT speed_kmh, course_deg, accuracy_m FROM position")).all()
    assert [tuple(row) for row in rows] == [(None, None, None)] * 2


@pytest.mark.usefixtures("worker")
def test_a_refused_request_says_what_is_allowed_and_is_kept(
    phone: DeviceClient, gps: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    wrong = {"delivery": fleet.delivery.id, "status": "delivered"}
    assert phone.ask(wrong, "status") == {
        "result": "rejected",
        "reason": "InvalidTransition",
        "current": "pending",
        "allowed": ["pickup_in_progress", "failed"],
    }
    assert phone.ask(wrong | {"delivery": 999_999}, "status")["reason"] == "NotFound"
    assert phone.ask(wrong | {"delivery": 10**30}, "status")["reason"] == "NotFound"
    assert phone.ask(wrong | {"status": "failed"}, "status")["reason"] == "InvalidValue"
    assert phone.ask(b"\x00", "status")["reason"] == "bad_json"
    assert gps.ask(wrong, "status")["reason"] == "not_a_driver"
    assert count(session, "quarantine") == 6
    assert count(session, "outbox") == 0


@pytest.mark.usefixtures("worker")
def test_a_phone_learns_the_missing_proof_and_may_retry(
    phone: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    fleet.company.proof_required = ["photo"]
    fleet.delivery.status = Status.IN_TRANSIT
    session.commit()
    request = {"delivery": fleet.delivery.id, "status": "delivered", "occurred_at": fix(0)["fix_time"]}
    assert phone.ask(request, "status") == {
        "result": "rejected",
        "reason": "ProofRequired",
        "current": "in_transit",
        "missing": ["photo"],
    }
    factories.proof(session, fleet.delivery)
    session.commit()
    assert phone.ask(request, "status") == {"result": "stored"}
    assert phone.ask(request, "status") == {"result": "duplicate"}


@pytest.mark.usefixtures("worker")
def test_a_flood_of_requests_of_one_phone_does_not_stop_the_others(
    phone: DeviceClient, gps: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    wrong = {"delivery": 999_999, "status": "delivered"}
    phone.send_soon(*[wrong] * 2_000, format_name="status")
    assert gps.ask(fix(0), timeout=3) == {"result": "stored"}
    phone.flush()
    wait_until(lambda: refused(session) == 2_000, 30)
    assert DEVICE.rows <= count(session, "quarantine") <= 2 * (DEVICE.rows + 1)  # in two hours at most
    reasons = session.execute(text("SELECT reason, count(*) FROM quarantine GROUP BY 1 ORDER BY 2")).all()
    assert [reason for reason, _number in reasons] == ["NotFound", "too_many_requests"]


@pytest.mark.usefixtures("worker")
def test_an_identity_that_is_not_the_topics_is_spoofed(
    phone: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    request = {"delivery": fleet.delivery.id, "status": "pickup_in_progress"}
    for claim in ({"device": "somebodyels"}, {"company": "another"}):
        assert phone.ask(request | claim, "status") == {"result": "rejected", "reason": "spoofed"}
    assert session.execute(text("SELECT status FROM delivery")).scalar_one() == "pending"


@pytest.mark.usefixtures("worker")
def test_a_topic_of_no_format_is_answered_and_kept_for_the_company(
    gps: DeviceClient, fleet: EquippedCompany, session: Session
) -> None:
    answer = gps.ask(fix(0), topic=gps.topic().replace("/location", "/Location"))
    assert answer == {"result": "rejected", "reason": "bad_topic"}
    row = session.execute(text("SELECT company_id, device_id, reason FROM quarantine")).one()
    assert tuple(row) == (fleet.company.id, fleet.gps.id, "bad_topic")


@pytest.mark.usefixtures("worker")
def test_an_array_of_a_refused_device_is_kept_once(phone: DeviceClient, session: Session) -> None:
    """A phone without a delivery under way, back from a tunnel."""
    backlog = [fix(second, id=str(second)) for second in range(500)]
    answers = phone.ask(backlog)["results"]
    assert {answer["reason"] for answer in answers} == {"no_vehicle"}
    assert len(answers) == 500
    [raw] = session.scalars(text("SELECT raw FROM quarantine")).all()
    assert json.loads(bytes(raw)) == backlog


@pytest.mark.usefixtures("worker")
def test_correlation_data_of_any_size_is_not_echoed(gps: DeviceClient, session: Session) -> None:
    with pytest.raises(queue.Empty):
        gps.ask(fix(0), correlation=b"x" * 60_000, timeout=1)
    assert count(session, "position") == 1
    assert gps.ask(fix(0), correlation=b"x" * 256) == {"result": "duplicate"}


@pytest.fixture
def few_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use it before ``worker``."""
    monkeypatch.setattr(pipeline, "REPLY_BYTES_PER_S", 1.0)
    monkeypatch.setattr(pipeline, "REPLY_BURST_BYTES", 200.0)


@pytest.mark.usefixtures("few_replies", "worker")
def test_device_is_answered_only_so_many_bytes(gps: DeviceClient, phone: DeviceClient) -> None:
    assert gps.ask(fix(0)) == {"result": "stored"}
    with pytest.raises(queue.Empty):
        gps.ask([fix(number) for number in range(100)], timeout=1)
    assert phone.ask(fix(0)) == {"result": "rejected", "reason": "no_vehicle"}


@pytest.mark.usefixtures("worker")
def test_one_bad_fix_of_500_is_quarantined_and_the_others_are_stored(
    gps: DeviceClient, session: Session
) -> None:
    session.execute(text("ALTER TABLE position ADD CONSTRAINT poison CHECK (speed_kmh <> 66)"))
    session.commit()
    fixes = [fix(second, speed_kmh=66 if second == 321 else 50) for second in range(500)]
    gps.send_soon(*fixes)
    gps.flush()
    wait_until(lambda: count(session, "position") == 499, 30)
    [poison] = session.execute(text("SELECT raw, reason FROM quarantine")).all()
    assert (json.loads(bytes(poison[0])), poison[1]) == (fixes[321], "refused_by_database")
    answer = gps.ask(fixes[320:323])
    assert [result["result"] for result in answer["results"]] == ["duplicate", "rejected", "duplicate"]


@pytest.mark.usefixtures("worker")
def test_a_missing_table_quarantines_nothing(gps: DeviceClient, session: Session) -> None:
    session.execute(text("ALTER TABLE position RENAME TO hidden"))
    session.commit()
    gps.send(*[fix(second) for second in range(20)])
    session.execute(text("ALTER TABLE hidden RENAME TO position"))
    session.commit()
    wait_until(lambda: count(session, "position") == 20, 30)
    assert count(session, "quarantine") == 0


@pytest.mark.usefixtures("worker")
def test_a_missing_month_is_made(gps: DeviceClient, session: Session) -> None:
    for name in session.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")).all():
        if name.startswith("position_2") and "_pkey" not in name:
            session.execute(text(f"DROP TABLE {name}"))
    session.commit()
    assert gps.ask(fix(0)) == {"result": "stored"}
    assert count(session, "quarantine") == 0


@pytest.mark.usefixtures("worker")
def test_a_terminated_backend_loses_nothing(gps: DeviceClient, settings: Settings, session: Session) -> None:
    session.rollback()  # it has no backend to lose
    fixes = [fix(second) for second in range(3_000)]
    gps.send_soon(*fixes)
    kills = stored_at_kill = 0
    # Of a pool of its own: in the worker's it would be handed backends that it has terminated.
    with closing(make_engine(settings, process="watcher").connect()) as own, Session(own) as watcher:
        while (stored := count(watcher, "position")) < len(fixes):
            if kills < 5 and stored > stored_at_kill:
                kills += watcher.execute(text(TERMINATE)).scalar_one()
                stored_at_kill = stored
        assert kills >= 1
        gps.flush()
        assert (count(watcher, "position"), count(watcher, "quarantine")) == (len(fixes), 0)


@pytest.mark.usefixtures("worker")
def test_an_emptied_broker_gets_the_newest_positions_again(
    gps: DeviceClient, fleet: EquippedCompany, broker: Broker
) -> None:
    gps.ask(fix(0))
    topic = topics.position(fleet.company.slug, fleet.vehicle.id)
    broker.kill()
    broker.lose_data()
    broker.start()
    with connected(broker, "api-0") as watcher:
        watcher.subscribe(topic)
        assert watcher.receive(20)[0] == topic


def one_message(connection: Connection) -> mqtt5.PublishPacket:
    """Wait for a message on a connection of our own."""
    while True:
        messages = connection.receive()
        if messages:
            [message] = messages
            return message


def last_error_of(connection: Connection) -> ConnectionLost:
    """What the broker says when it lets the connection go."""
    while True:
        try:
            connection.receive()
        except ConnectionLost as lost:
            return lost


def next_messages(receiver: Receiver) -> list[ReceivedMessage]:
    batch: list[ReceivedMessage] = []
    wait_until(lambda: batch.extend(receiver.next_batch()) or batch)  # type: ignore[func-returns-value]
    return batch


def test_a_stale_ack_is_not_sent(
    gps: DeviceClient, fleet: EquippedCompany, settings: Settings, sessions: Sessions, broker: Broker
) -> None:
    """Packet ids start again when the broker lost the session: an old ack would destroy a new message."""
    shard = shard_of(fleet.gps.id)
    to = login(settings, ingest_user(shard))
    lost_sessions: list[str] = []
    receiver = Receiver([(shard, to)], lost_sessions.append)
    wait_until(lambda: not receiver.next_batch() and receiver.connected == 1)
    gps.send(fix(0))
    in_hand = next_messages(receiver)
    # Another client with our login and a clean start: the session is gone, and its packet ids with it.
    with connected(broker, ingest_user(shard)):
        pass
    wait_until(lambda: not receiver.next_batch() and len(lost_sessions) == 2)
    gps.send(fix(1))
    [(new_connection, new_packet)] = next_messages(receiver)
    [(old_connection, old_packet)] = in_hand
    assert new_packet.packet_id == old_packet.packet_id
    assert new_connection is not old_connection
    Pipeline(receiver, sessions, IngestMetrics()).process(in_hand)
    receiver.close()  # the worker ends before it takes the new message through: the broker must still have it
    again = Connection(to, topics.shard_filter(shard))
    redelivered = one_message(again)
    assert (redelivered.topic, redelivered.payload) == (gps.topic(), new_packet.payload)
    again.close()


def test_two_workers_of_the_same_shards_store_each_fix_once(
    settings: Settings, sessions: Sessions, gps: DeviceClient, session: Session
) -> None:
    workers = [Worker(settings, sessions, shards_of(0, 1), IngestMetrics()) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    threads[0].start()
    wait_until(lambda: workers[0].connected == 16)  # the broker queues once it has the subscriptions
    threads[1].start()
    try:
        gps.send_soon(*[fix(second) for second in range(1_000)])
        gps.flush()
        wait_until(lambda: count(session, "position") == 1_000, 60)
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(15)


def test_a_session_taken_over_is_let_go(settings: Settings, sessions: Sessions) -> None:
    """Some brokers say so (Mosquitto 2.0 does not)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = BrokerLogin("127.0.0.1", server.getsockname()[1], "ingest-0", "secret")
        receiver = Receiver([("0", to)], lambda _shard: None)
        broker = threading.Thread(target=_take_over, args=(server,))
        broker.start()
        wait_until(lambda: not receiver.next_batch() and receiver.is_taken_over)
        assert receiver.connected == 0
        broker.join(10)
        receiver.close()


def _take_over(server: socket.socket) -> None:
    client, _address = server.accept()
    with client:
        client.recv(4096)
        client.sendall(mqtt5.ConnAckPacket(session_present=True).write())
        client.recv(4096)
        granted = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
        taken_over = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        client.sendall(mqtt5.SubAckPacket(1, [granted]).write())
        client.sendall(mqtt5.DisconnectPacket(reason_code=taken_over).write())


@pytest.mark.parametrize(
    "rubbish", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"\xff" * 64, b"\x20\x03\x00\x87\x00"]
)
def test_what_is_no_broker_is_left(rubbish: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _address = server.accept()
            with client:
                client.recv(4096)
                client.sendall(rubbish)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectionLost):
            Connection(BrokerLogin("127.0.0.1", server.getsockname()[1], "ingest-0", "secret"), "up/0/+/#")
        thread.join(10)


def test_worker_k_of_n_takes_every_nth_shard() -> None:
    assert shards_of(1, 3) == ["1", "4", "7", "a", "d"]
    for workers in (1, 2, 5, 16):
        taken = [shard for worker in range(workers) for shard in shards_of(worker, workers)]
        assert sorted(taken) == sorted("0123456789abcdef")
    for wrong in ((0, 0), (0, 17), (3, 3), (-1, 2)):
        with pytest.raises(ValueError, match="worker"):
            shards_of(*wrong)


def test_a_refused_login_says_so(settings: Settings, fleet: EquippedCompany) -> None:
    to = login(settings, ingest_user("0"), version=2)
    with pytest.raises(ConnectionLost, match="NOT_AUTHORIZED"):
        Connection(to, topics.shard_filter("0"))


def test_a_refused_subscription_says_so(settings: Settings, fleet: EquippedCompany) -> None:
    connection = Connection(login(settings, ingest_user("0")), topics.shard_filter("1"))
    assert "was refused" in str(last_error_of(connection))


def test_an_idle_connection_is_kept_alive(
    settings: Settings, fleet: EquippedCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_connection, "PING_AFTER_S", 0.0)
    connection = Connection(login(settings, ingest_user("0")), topics.shard_filter("0"))
    assert connection.receive() == []  # the SUBACK
    connection.keep_alive()
    assert connection.receive() == []  # the PINGRESP: it returns because something arrived
    monkeypatch.setattr(ingest_connection, "KEEP_ALIVE_S", -1)
    with pytest.raises(ConnectionLost, match="no answer"):
        connection.keep_alive()
    connection.close()
