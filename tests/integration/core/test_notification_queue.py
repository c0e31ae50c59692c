"""What is queued, for whom, in whose transaction."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.database import row_security
from core.deliveries.status_changes import StatusRequest, change_status
from core.models.company import Company
from core.models.notification import NotificationSetting, Webhook
from core.notifications import queue
from core.notifications.events import NotificationEvent
from core.notifications.kinds import Event
from core.rules.enums import Role, Status
from tests.support import factories
from tests.support.notifications import events

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = StatusRequest(status=Status.PICKUP_IN_PROGRESS)


def queued(session: Session) -> list[Any]:
    return list(session.execute(text("SELECT * FROM notification ORDER BY id")))


def choose(session: Session, company: Company, event: Event, *, customer: bool, managers: bool) -> None:
    session.add(
        NotificationSetting(company_id=company.id, event=event.value, customer=customer, managers=managers)
    )
    session.flush()


def webhook(session: Session, company: Company, *events: Event, **values: Any) -> Webhook:
    defaults = {"company_id": company.id, "url": "https://example.com/hook", "events": list(events)}
    row = Webhook(**defaults | values)
    session.add(row)
    session.flush()
    return row


@pytest.fixture
def company(session: Session) -> Company:
    return factories.company(session)


def test_a_status_change_is_queued_unless_the_company_turned_it_off(
    session: Session, company: Company
) -> None:
    customer = factories.customer(session, company, email="clara@example.com")
    manager = factories.user(session, company)
    ours = [factories.delivery(session, company, Status.IN_TRANSIT, customer_id=customer.id) for _ in "ab"]
    actor = factories.actor(company, manager)
    change_status(session, actor, ours[0].id, StatusRequest(status=Status.DELIVERED), NOW)
    (row,) = queued(session)
    assert (row.event, row.audience, row.recipient) == ("status_changed", "customer", "clara@example.com")
    assert row.payload["status"] == "delivered"
    assert row.payload["previous_status"] == "in_transit"
    assert row.payload["recipient_name"] == customer.name
    assert row.payload["delivery"]["reference"] == ours[0].reference
    assert row.expires_at == NOW + timedelta(days=1)
    choose(session, company, Event.STATUS_CHANGED, customer=False, managers=True)
    change_status(session, actor, ours[1].id, StatusRequest(status=Status.DELIVERED), NOW)
    assert [row.recipient for row in queued(session)][1:] == [manager.email]


def test_managers_who_cannot_log_in_are_not_notified(session: Session, company: Company) -> None:
    manager = factories.user(session, company)
    factories.user(session, company, disabled_at=NOW)
    factories.user(session, company, password_hash=None)
    factories.user(session, company, Role.OPERATOR)
    factories.user(session, factories.company(session))
    assert queue.queue(session, company.id, events.silent(), NOW) == 1
    assert [row.recipient for row in queued(session)] == [manager.email]


def test_webhooks_get_their_chosen_events_without_personal_data(session: Session, company: Company) -> None:
    ours = webhook(session, company, Event.LATE, Event.ARRIVING_SOON)
    webhook(session, company, Event.STATUS_CHANGED)
    webhook(session, company, Event.LATE, deleted_at=NOW)
    webhook(session, factories.company(session), Event.LATE)
    choose(session, company, Event.LATE, customer=True, managers=False)
    customer = factories.customer(session, company, email="clara@example.com")
    delivery = factories.delivery(session, company, customer_id=customer.id)
    assert queue.queue(session, company.id, events.late(delivery), NOW, delivery=delivery) == 2
    mail, call = queued(session)
    assert mail.event_id == call.event_id
    assert (call.addressee, call.webhook_id, call.recipient) == (f"webhook:{ours.id}", ours.id, None)
    assert call.payload["late_minutes"] == 5
    assert delivery.dropoff_address in str(mail.payload)
    assert delivery.dropoff_address not in str(call.payload)
    assert customer.name not in str(call.payload)


def test_an_event_with_a_key_is_queued_once(session: Session, company: Company) -> None:
    factories.user(session, company)

    late, silent = events.late(factories.delivery(session, company)), events.silent()

    def notify(event: NotificationEvent, once: str | None) -> int:
        return queue.queue(session, company.id, event, NOW, once=once)

    assert [notify(late, "a"), notify(late, "a"), notify(late, "b")] == [1, 0, 1]
    assert [notify(silent, "a"), notify(late, None), notify(late, None)] == [1, 1, 1]


def test_it_is_queued_with_its_change_or_not_at_all(
    session: Session, sessions: sessionmaker[Session], company: Company
) -> None:
    customer = factories.customer(session, company, email="clara@example.com")
    vehicle, driver = factories.vehicle(session, company), factories.driver(session, company)
    delivery = factories.delivery(
        session, company, customer_id=customer.id, vehicle_id=vehicle.id, driver_id=driver.id
    )
    actor = factories.actor(company, factories.user(session, company))
    session.commit()
    with sessions() as inside:
        row_security.enter(inside, company.id)
        change_status(inside, actor, delivery.id, START, NOW)
        assert len(queued(inside)) == 1
        inside.rollback()
        assert queued(inside) == []
        change_status(inside, actor, delivery.id, START, NOW)
        inside.commit()
    assert len(queued(session)) == 1
