"""The two stories of ARCHITECTURE.md with real processes: a fix and a status change, seen by a customer."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session
from websockets.sync.client import ClientConnection, connect

from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.devices import DeviceClient, device, fix
from tests.support.mqtt_client import connected
from tests.support.services.mosquitto import Broker
from tests.support.services.processes import Processes

Event = dict[str, Any]


class Deployment:
    """Ingest, jobs and API as processes; a company with a van, its GPS unit, a driver and a customer."""

    def __init__(self, session: Session, broker: Broker, settings: Settings, processes: Processes) -> None:
        self.company = factories.company(session)
        self.vehicle = factories.vehicle(session, self.company)
        self.gps = factories.device(session, self.company, vehicle_id=self.vehicle.id)
        self.manager = factories.user(session, self.company, Role.MANAGER)
        self.driver = factories.user(session, self.company, Role.DRIVER)
        self.customer = factories.user(session, self.company, Role.CUSTOMER)
        self.stranger = factories.user(session, factories.company(session), Role.DRIVER)
        self.phone = factories.device(session, self.company, driver_id=self.driver.driver_id)
        self.delivery = factories.delivery(
            session,
            self.company,
            Status.PENDING,
            customer_id=self.customer.customer_id,
            driver_id=self.driver.driver_id,
            vehicle_id=self.vehicle.id,
        )
        session.commit()
        broker.rewrite(session)
        self.url = f"http://127.0.0.1:{settings.http_port}"
        self.ingest = processes.start("ingest")
        self.jobs = processes.start("jobs")
        self.api = processes.start("api")
        self.ingest.wait_for("connected shard=f")
        self.jobs.wait_for("relay_connected")
        self.api.wait_for("Uvicorn running")

    def token(self, email: str) -> str:
        form = {"username": email, "password": factories.PASSWORD}
        answer = httpx.post(f"{self.url}/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def post(self, email: str, path: str, body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(email)}"}
        return httpx.post(f"{self.url}/deliveries/{self.delivery.id}/{path}", json=body, headers=headers)

    @contextmanager
    def watch(self, email: str, query: str = "") -> Iterator[ClientConnection]:
        url = f"{self.url.replace('http', 'ws', 1)}/ws/delivery/{self.delivery.id}/{query}"
        headers = {"Authorization": f"Bearer {self.token(email)}"}
        with connect(url, additional_headers=headers, proxy=None) as socket:
            yield socket


@pytest.fixture
def house(session: Session, broker: Broker, settings: Settings, processes: Processes) -> Deployment:
    return Deployment(session, broker, settings, processes)


@pytest.fixture
def gps(house: Deployment, broker: Broker) -> Iterator[DeviceClient]:
    with device(broker, house.gps.id) as client:
        yield client


def next_event(socket: ClientConnection, wanted: str, timeout: float = 10.0) -> Event:
    """The next event of this type; the others on the way are passed over."""
    while True:
        event: Event = json.loads(socket.recv(timeout))
        if event["type"] == wanted:
            return event


def test_the_story_of_a_fix_and_of_a_status_change(
    house: Deployment, gps: DeviceClient, broker: Broker
) -> None:
    with house.watch(house.customer.email) as customer:
        assert next_event(customer, "status_update")["status"] == "pending"
        # A pending delivery's van is not shown: this fix must not reach the customer.
        assert gps.ask(fix(0)) == {"result": "stored"}

        answer = house.post(house.driver.email, "status", {"status": "pickup_in_progress"})
        assert answer.status_code == 200, answer.text
        started = next_event(customer, "status_update")
        assert started["status"] == "pickup_in_progress"

        values = {"latitude": 52.5, "longitude": 13.3, "speed_kmh": 42.0, "course_deg": 90.0}
        later = values | {"fix_time": datetime.now(UTC).isoformat()}
        assert gps.ask(later) == {"result": "stored"}
        seen = next_event(customer, "location_update")
        assert (seen["latitude"], seen["longitude"]) == (52.5, 13.3)
        assert (seen["speed_kmh"], seen["course_deg"]) == (42.0, 90.0)
        assert seen["eta"] > seen["fix_time"]

        with device(broker, house.phone.id) as phone:
            request = {"delivery": house.delivery.id, "status": "in_transit"}
            assert phone.ask(request, "status") == {"result": "stored"}
        moved = next_event(customer, "status_update")
        assert moved["status"] == "in_transit"
        assert moved["checkpoint_id"] > started["checkpoint_id"]


def test_what_a_customer_missed_comes_in_order_and_once(house: Deployment) -> None:
    with house.watch(house.customer.email) as customer:
        last = next_event(customer, "status_update")["checkpoint_id"]
    for status in ("pickup_in_progress", "in_transit"):
        assert house.post(house.driver.email, "status/", {"status": status}).status_code == 200
    with house.watch(house.customer.email, f"?last_checkpoint_id={last}") as customer:
        missed = [next_event(customer, "status_update")["status"] for _ in range(2)]
        assert missed == ["pickup_in_progress", "in_transit"]
        house.post(house.driver.email, "status", {"status": "failed", "reason": "nobody home"})
        assert next_event(customer, "status_update")["status"] == "failed"


def test_an_announcement_survives_the_relays_death(house: Deployment, processes: Processes) -> None:
    with house.watch(house.customer.email) as customer:
        next_event(customer, "status_update")
        house.jobs.kill()
        for status in ("pickup_in_progress", "in_transit"):
            assert house.post(house.driver.email, "status", {"status": status}).status_code == 200
        processes.start("jobs")
        seen = [next_event(customer, "status_update", 30)["status"] for _ in range(2)]
        assert seen == ["pickup_in_progress", "in_transit"]


def test_a_driver_of_another_company_gets_404(house: Deployment) -> None:
    for path, body in [
        ("status", {"status": "pickup_in_progress"}),
        ("location", {"latitude": 1, "longitude": 2}),
    ]:
        answer = house.post(house.stranger.email, path, body)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_operator_sees_the_fleet_on_its_wildcard(
    house: Deployment, gps: DeviceClient, broker: Broker
) -> None:
    gps.ask(fix(0))
    user = f"operator-{house.manager.id}"
    with connected(broker, user) as operator:
        assert operator.subscribe(f"fleet/{house.company.slug}/#") < 0x80
        state = {
            topic: (json.loads(payload), retained)
            for topic, payload, retained in (operator.receive(), operator.receive())
        }
        fleet = f"fleet/{house.company.slug}"
        position, is_retained = state[f"{fleet}/vehicles/{house.vehicle.id}/position"]
        assert (position["vehicle"], is_retained) == (house.vehicle.id, True)
        status, is_retained = state[f"{fleet}/deliveries/{house.delivery.id}/status"]
        assert (status["status"], is_retained) == ("pending", True)


def test_every_process_stops_on_sigterm(house: Deployment) -> None:
    for process in (house.api, house.jobs, house.ingest):
        assert process.terminate(timeout=10) == 0, (process.name, signal.Signals)
