"""The demo company: made once, with logins that work, and a fleet that delivers."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import paho.mqtt.client as paho
import pytest
from sqlalchemy import func, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker

from broker.connection import BrokerLogin, paho_client
from core.access import system_actors
from core.accounts import passwords
from core.database.engine import make_engine, make_sessions
from core.deliveries import status_changes
from core.deliveries.status_changes import StatusRequest
from core.models.base import Base
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.fleet import Device, Vehicle
from core.models.people import AppUser, Customer, Driver
from core.models.proof import DeliveryProof, ProofImage
from core.rules.enums import Role, Status
from core.settings import Settings
from local import demo
from local.demo import cast
from local.demo.main import Demo
from local.demo.roster import read_roster
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases
from tests.support.services.processes import Processes
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

PASSWORD = "correct horse battery"
LOGINS = {
    "manager@demo.example": Role.MANAGER,
    "operator@demo.example": Role.OPERATOR,
    "driver1@demo.example": Role.DRIVER,
    "customer1@demo.example": Role.CUSTOMER,
}
TABLES: tuple[type[Base], ...] = (Company, AppUser, Customer, Driver, Vehicle, Device, Delivery)


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    """The name of a database with the demo company. Preparing takes a hundred times as long as copying."""
    with databases.fresh() as url:
        engine = make_engine(make_settings(url), process="test")
        demo.prepare(make_sessions(engine), PASSWORD, "a key")
        engine.dispose()
        yield str(make_url(url).database)


@pytest.fixture
def database_url(databases: Databases, prepared: str) -> Iterator[str]:
    with databases.fresh(prepared) as url:
        yield url


def counts(session: Session) -> dict[str, int]:
    return {
        table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES
    }


def walk_status(session: Session) -> list[Status]:
    query = select(Delivery.status).where(Delivery.reference == cast.WALK_REFERENCE)
    return list(session.scalars(query.order_by(Delivery.id)))


def test_preparing_again_adds_nothing(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        before = counts(session)
    demo.prepare(sessions, PASSWORD, "a key")
    with sessions() as session:
        assert counts(session) == before
    assert before["company"] == 1
    assert before["vehicle"] == len(cast.CREWS) + 1


@pytest.mark.parametrize(("email", "role"), LOGINS.items())
def test_the_logins_work(session: Session, email: str, role: Role) -> None:
    user = session.scalars(select(AppUser).where(AppUser.email == email)).one()
    assert user.role is role
    assert passwords.is_right(user.password_hash, PASSWORD)


def test_a_new_password_is_set_and_the_same_one_keeps_tokens_valid(
    sessions: sessionmaker[Session],
) -> None:
    def epochs() -> set[int]:
        with sessions() as session:
            return set(session.scalars(select(AppUser.token_epoch)))

    demo.prepare(sessions, PASSWORD, "a key")
    assert epochs() == {1}
    demo.prepare(sessions, "another password", "a key")
    assert epochs() == {2}
    with sessions() as session:
        hashes = session.scalars(select(AppUser.password_hash)).all()
    assert all(passwords.is_right(known, "another password") for known in set(hashes))


def test_deliveries_in_every_state_have_a_record_and_a_track(session: Session) -> None:
    states = session.scalars(select(Delivery.status)).all()
    assert set(states) == set(Status)
    assert len(states) >= 12
    ended = select(Delivery).where(Delivery.status == Status.DELIVERED)
    for delivery in session.scalars(ended):
        kinds = session.scalars(
            select(DeliveryCheckpoint.kind).where(DeliveryCheckpoint.delivery_id == delivery.id)
        ).all()
        assert kinds.count("status") == 4
        assert kinds.count("location") > 5
        assert delivery.created_at < delivery.started_at < delivery.ended_at  # type: ignore[operator]
    newest = session.scalar(text("SELECT max(fix_time) <= now() FROM position"))
    assert newest is True


def test_customer_1_and_driver_1_have_a_delivery_under_way(session: Session) -> None:
    under_way = select(Delivery).where(Delivery.status.in_({Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT}))
    rows = session.scalars(under_way).all()
    people = {user.email: user for user in session.scalars(select(AppUser))}
    assert people["driver1@demo.example"].driver_id in {row.driver_id for row in rows}
    assert people["customer1@demo.example"].customer_id in {row.customer_id for row in rows}


def test_the_next_start_remakes_an_ended_walk_through(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        assert walk_status(session) == [Status.IN_TRANSIT]
        walk = session.scalars(select(Delivery).where(Delivery.reference == cast.WALK_REFERENCE)).one()
        actor = system_actors.system_actor(session, "demo")
        now = session.scalar(select(func.now()))
        assert now is not None
        status_changes.change_status(session, actor, walk.id, StatusRequest(status=Status.DELIVERED), now)
    demo.prepare(sessions, PASSWORD, "a key")
    with sessions() as session:
        assert walk_status(session) == [Status.DELIVERED, Status.IN_TRANSIT]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vehicle SET archived_at = now()",
        "UPDATE driver SET archived_at = now()",
        "UPDATE app_user SET disabled_at = now() WHERE role = 'driver'",
        "UPDATE app_user SET email = 'x' || email WHERE role = 'driver'",
    ],
)
def test_who_was_archived_disabled_or_renamed_is_left_out(
    sessions: sessionmaker[Session], change: str
) -> None:
    with sessions.begin() as session:
        session.execute(text(change))
    demo.prepare(sessions, PASSWORD, "a key")
    with sessions() as session:
        assert read_roster(session).members == []


def test_the_operators_mqtt_login_is_accepted(sessions: sessionmaker[Session], broker: Broker) -> None:
    with sessions() as session:
        broker.rewrite(session)
        user_name, secret = demo.operator_login(session, broker.mqtt_key)
    client = paho_client(BrokerLogin(broker.host, broker.port, user_name, secret))
    answers: list[int] = []

    def connected(_client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.append(reason.value)

    client.on_connect = connected
    client.connect(broker.host, broker.port)
    client.loop_start()
    wait_until(lambda: answers, what="the broker answers")
    client.loop_stop()
    assert answers == [0]


@pytest.fixture
def running_demo(
    settings: Settings,
    sessions: sessionmaker[Session],
    broker: Broker,
    processes: Processes,
) -> Iterator[Demo]:
    """Vans that drive two minutes a second, with an ingest and an API of their own."""
    with sessions() as session:
        broker.rewrite(session)
        roster = read_roster(session)
    ingest, api = processes.start("ingest"), processes.start("api")
    ingest.wait_for("connected shard=f")
    api.wait_for("Application startup complete")
    running, stop = Demo(settings, PASSWORD, roster, fix_every_s=0.2, time_lapse=120), threading.Event()
    thread = threading.Thread(target=running.run, args=(stop,))
    thread.start()
    yield running
    stop.set()
    thread.join(3)
    assert not thread.is_alive(), "the demo did not stop within 3 s"


def test_deliveries_begin_and_end_over_rest_and_by_phone(
    running_demo: Demo, sessions: sessionmaker[Session]
) -> None:
    def ended(by_phone: bool) -> Callable[[], int]:
        column = DeliveryCheckpoint.actor_device_id
        query = (
            select(func.count(DeliveryCheckpoint.id))
            .join(Delivery, Delivery.id == DeliveryCheckpoint.delivery_id)
            .where(
                Delivery.ended_at.is_not(None),
                DeliveryCheckpoint.status == Delivery.status,
                DeliveryCheckpoint.kind == "status",
                DeliveryCheckpoint.recorded_at > started,
                column.is_not(None) if by_phone else column.is_(None),
            )
        )

        def count() -> int:
            with sessions() as session:
                return session.scalar(query) or 0

        return count

    def ordered() -> int:
        with sessions() as session:
            query = select(func.count(Delivery.id)).where(Delivery.created_at > started)
            return session.scalar(query) or 0

    with sessions() as session:
        started = session.scalar(select(func.now()))
    assert started is not None
    wait_until(ended(by_phone=True), timeout=40, what="a delivery was ended by phone")
    wait_until(ended(by_phone=False), timeout=40, what="a delivery was ended over REST")
    wait_until(ordered, timeout=20, what="a new delivery was ordered")
    with sessions() as session:
        assert walk_status(session) == [Status.IN_TRANSIT]
        open_deliveries = session.scalar(select(func.count(Delivery.id)).where(Delivery.ended_at.is_(None)))
        assert open_deliveries is not None
        assert open_deliveries <= 2 * len(cast.CREWS) + 1
    assert running_demo.tally.answers["rejected"] == 0


def test_the_drivers_add_proofs_when_the_company_requires_them(
    running_demo: Demo, sessions: sessionmaker[Session]
) -> None:
    wanted = ["photo", "signature", "recipient_name"]
    with sessions.begin() as session:
        company = session.scalars(select(Company)).one()
        company.proof_required = wanted

    def proven(by_phone: bool) -> bool:
        """A delivery that ended since, of a driver who reports by phone, or of one who does so over REST."""
        phones = select(Device.driver_id).where(Device.driver_id.is_not(None))
        query = (
            select(func.count(DeliveryProof.id))
            .join(Delivery, Delivery.id == DeliveryProof.delivery_id)
            .where(
                Delivery.status == Status.DELIVERED,
                DeliveryProof.recipient_name.is_not(None),
                Delivery.driver_id.in_(phones) if by_phone else Delivery.driver_id.not_in(phones),
            )
        )
        with sessions() as session:
            return bool(session.scalar(query))

    for by_phone in (True, False):
        wait_until(partial(proven, by_phone), timeout=60, what=f"a proven delivery, by phone: {by_phone}")
    with sessions() as session:
        kinds = set(session.scalars(select(ProofImage.kind)))
    assert {str(kind) for kind in kinds} == {"photo", "signature"}


def test_the_running_demo_remakes_an_ended_walk_through(
    running_demo: Demo, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        actor = system_actors.system_actor(session, "demo")
        walk = session.scalars(select(Delivery).where(Delivery.reference == cast.WALK_REFERENCE)).one()
        now = session.scalar(select(func.now()))
        assert now is not None
        status_changes.change_status(session, actor, walk.id, StatusRequest(status=Status.DELIVERED), now)

    def statuses() -> bool:
        with sessions() as session:
            return walk_status(session) == [Status.DELIVERED, Status.IN_TRANSIT]

    wait_until(statuses, timeout=20, what="a new walk-through is under way")
