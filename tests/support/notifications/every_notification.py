"""A company in which every event of `core.notifications` happened, by the functions that report it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.deliveries.status_changes import StatusRequest, change_status
from core.detectors import late_deliveries, near_arrivals, silent_devices
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Vehicle
from core.models.notification import NotificationSetting, Webhook
from core.models.people import AppUser, Customer
from core.nightly.nights import Night
from core.notifications import attempts, claims
from core.notifications.attempts import FAILURES_ALLOWED, AttemptOutcome
from core.notifications.kinds import CONFIGURABLE, OF_A_DELIVERY
from core.notifications.webhooks import endpoints
from core.reporting import daily_report
from core.rules.enums import Status
from core.rules.times import time_zones
from tests.support import factories

MINUTE = timedelta(minutes=1)
DEVICE = "k3v9x0q2ma"


@dataclass(frozen=True)
class EveryNotification:
    """``awaited`` is late, near and silent; ``ended`` was returned, which ``broken`` could not be told."""

    company: Company
    manager: AppUser
    customer: Customer
    vehicle: Vehicle
    webhook: Webhook
    broken: Webhook
    awaited: Delivery
    ended: Delivery


def queue_all(session: Session, url: str, now: datetime) -> EveryNotification:
    """Let every event happen at ``now``; customer, managers and a webhook at ``url`` are notified of each."""
    there = _furnished(session, url, now)
    company, manager = there.company, factories.actor(there.company, there.manager)
    change_status(
        session, manager, there.ended.id, StatusRequest(status=Status.RETURNED, reason="Nobody at home"), now
    )
    for module, report in (
        (late_deliveries, late_deliveries.record_events),
        (silent_devices, silent_devices.record_events),
    ):
        assert report(session, module.find_without_event(session, now), now) == 1
    assert near_arrivals.record_events(session, near_arrivals.find_without_event(session, now), now) == 1
    call = claims.claim_call(session, there.broken.id, now)
    assert call is not None
    assert attempts.record_call(session, call.claimed, AttemptOutcome(code=500, error="HTTP status 500"), now)
    day = time_zones.day_of(now, company.time_zone)
    bounds = time_zones.day_bounds(day, company.time_zone)
    daily_report.make(session, Night(company.id, company.slug, company.time_zone, day, *bounds), now)
    endpoints.test(session, manager, there.webhook.id, now)
    session.commit()
    return there


def _furnished(session: Session, url: str, now: datetime) -> EveryNotification:
    company = factories.company(session, slug="acme", name="Acme", device_silent_after_min=30)
    for event in CONFIGURABLE:
        choice = {"customer": event in OF_A_DELIVERY, "managers": True}
        session.add(NotificationSetting(company_id=company.id, event=event.value, **choice))
    manager = factories.user(session, company, name="Mara Manager")
    customer = factories.customer(session, company, email="clara@example.com")
    vehicle = factories.vehicle(
        session,
        company,
        name="Van 5",
        position_time=now,
        position_latitude=factories.DROPOFF[0] + 0.02,
        position_longitude=factories.DROPOFF[1],
        smoothed_speed_kmh=40.0,
    )
    factories.device(
        session,
        company,
        id=DEVICE,
        vehicle_id=vehicle.id,
        created_at=now - 500 * MINUTE,
        last_heard_at=now - 40 * MINUTE,
    )
    awaited = factories.delivery(
        session,
        company,
        Status.IN_TRANSIT,
        reference="ORDER-1001",
        customer_id=customer.id,
        vehicle_id=vehicle.id,
        started_at=now - 60 * MINUTE,
        window_start=now - 65 * MINUTE,
        window_end=now - 5 * MINUTE,
    )
    ended = factories.delivery(
        session,
        company,
        Status.IN_TRANSIT,
        reference="ORDER-1002",
        customer_id=customer.id,
        started_at=now - 30 * MINUTE,
    )
    session.execute(
        text("UPDATE delivery_checkpoint SET occurred_at = :at, recorded_at = :at"),
        {"at": now - 60 * MINUTE},
    )
    webhook = factories.webhook(session, company, *CONFIGURABLE, url=url)
    broken = factories.webhook(
        session,
        company,
        "status_changed",
        url="https://hooks.example.com/token",
        failures=FAILURES_ALLOWED - 1,
    )
    session.flush()
    return EveryNotification(company, manager, customer, vehicle, webhook, broken, awaited, ended)
