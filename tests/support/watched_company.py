"""What the live tests share: a company with a delivery in transit, and the facts about it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.deliveries import checkpoints, commands, status_changes
from core.deliveries.commands import DeliveryChanges
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.people import AppUser
from core.rules.enums import Role, Status
from core.rules.facts import PositionFact, StatusFact
from core.settings import Settings
from tests.support import factories
from tests.support.servers.live_server import LiveServer, Publisher
from tests.support.services.mosquitto import Broker

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class WatchedCompany:
    """A company with a manager, a customer, a driver and the customer's delivery in transit."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.company: Company = factories.company(session)
        self.manager: AppUser = factories.user(session, self.company)
        self.customer: AppUser = factories.user(session, self.company, Role.CUSTOMER)
        self.driver: AppUser = factories.user(session, self.company, Role.DRIVER)
        self.vehicle: Vehicle = factories.vehicle(session, self.company)
        self.delivery: Delivery = self.add_delivery()

    def add_delivery(self, status: Status = Status.IN_TRANSIT, **values: object) -> Delivery:
        defaults = {
            "customer_id": self.customer.customer_id,
            "driver_id": self.driver.driver_id,
            "vehicle_id": self.vehicle.id,
        }
        delivery = factories.delivery(self.session, self.company, status, **(defaults | values))
        self.session.commit()
        return delivery

    def change(self, status: Status, reason: str | None = None) -> StatusFact:
        """Change the delivery's status; the fact that the relay would publish."""
        request = status_changes.StatusRequest(status=status, reason=reason)
        actor = factories.actor(self.company, self.manager)
        change = status_changes.change_status(
            self.session, actor, self.delivery.id, request, datetime.now(UTC)
        )
        self.session.commit()
        return checkpoints.fact_of(self.company.slug, change.checkpoint, self.delivery.customer_id)

    def assign(self, **values: Any) -> StatusFact:
        actor = factories.actor(self.company, self.manager)
        commands.edit(self.session, actor, self.delivery.id, DeliveryChanges(**values), datetime.now(UTC))
        self.session.commit()
        newest = checkpoints.announced_since(self.session, self.delivery.id, 0, 100)[-1]
        return checkpoints.fact_of(self.company.slug, newest, self.delivery.customer_id)

    def position(self, second: int, *named: int, vehicle: int | None = None) -> PositionFact:
        """The van at ``second`` past noon, a little further north each second."""
        return PositionFact(
            company=self.company.slug,
            vehicle=vehicle or self.vehicle.id,
            fix_time=NOON + timedelta(seconds=second),
            latitude=52.4 + second / 10_000,
            longitude=13.2,
            speed_kmh=36.0,
            course_deg=10.0,
            smoothed_speed_kmh=30.0,
            deliveries=named,
        )


@pytest.fixture
def server(settings: Settings) -> Iterator[LiveServer]:
    server = LiveServer(settings)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def publisher(settings: Settings, broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(settings)
    yield publisher
    publisher.close()


@pytest.fixture
def house(session: Session) -> WatchedCompany:
    return WatchedCompany(session)
