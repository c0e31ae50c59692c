"""Notifications, queued in the transaction of the event that they report (`sender.loop` sends them).

Facts are JSON. Each event has ``occurred_at``, ``delivery`` where there is one, and:
- ``status_changed``: ``status``, ``previous_status``, ``reason``;
- ``arriving_soon``: ``eta``, ``minutes``; ``late``: ``eta`` (or null), ``late_minutes``;
- ``device_silent``: ``device`` and ``vehicle`` (``{"id", "name"}`` each; vehicle or null), ``last_seen_at``,
  ``silent_minutes``;
- ``webhook_disabled``: ``webhook`` (``{"id", "url"}``), ``failures``, ``error``;
- ``daily_report``: ``day``, and the report's figures.
"""

import enum
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import and_, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.notification import Notification, NotificationSetting, Webhook
from core.models.people import AppUser, Customer
from core.notifications import expiry
from core.notifications.kinds import Audience, Event
from core.rules.enums import Role
from core.rules.lifecycle import FINAL

WORTH_TELLING = timedelta(days=1)  # detectors report nothing that is older
CHANNEL = "milepost_notifications"


class State(enum.StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"


class Choice(msgspec.Struct, frozen=True):
    """The recipients of e-mails about an event; webhooks choose their own events."""

    customer: bool
    managers: bool


DEFAULTS: Mapping[Event, Choice] = {
    Event.STATUS_CHANGED: Choice(customer=True, managers=False),
    Event.ARRIVING_SOON: Choice(customer=True, managers=False),
    Event.LATE: Choice(customer=False, managers=True),
    Event.DEVICE_SILENT: Choice(customer=False, managers=True),
    Event.WEBHOOK_DISABLED: Choice(customer=False, managers=True),
    Event.DAILY_REPORT: Choice(customer=False, managers=False),
}
CHOSEN = tuple(DEFAULTS)  # the events that a company can configure
OF_A_DELIVERY = frozenset({Event.STATUS_CHANGED, Event.ARRIVING_SOON, Event.LATE})


class _Addressee(msgspec.Struct, frozen=True):
    audience: Audience
    id: int
    name: str = ""
    email: str | None = None

    @property
    def key(self) -> str:
        """Return a key that stays the same when the address changes or is erased."""
        noun = "user" if self.audience is Audience.MANAGER else self.audience.value
        return f"{noun}:{self.id}"


def queue(
    session: Session,
    event: Event,
    company_id: int,
    facts: Mapping[str, Any],
    now: datetime,
    *,
    delivery: Delivery | None = None,
    checkpoint_id: int | None = None,
    once: str | None = None,
) -> int:
    """Queue a notification for each recipient that the company chose; return how many are new.

    ``facts`` hold no personal data, because webhooks receive them too. With ``once`` (say ``delivery:42``) no
    recipient is notified of the same again, however often it is queued. Each notification expires in its time
    (`core.notifications.expiry`).
    """
    rows = [
        _row(event, company_id, facts, now, who, delivery)
        for who in _addressees(session, event, company_id, delivery)
    ]
    return len(_insert(session, rows, checkpoint_id, once)) if rows else 0


def queue_test(session: Session, company_id: int, webhook_id: int, now: datetime) -> int:
    """Queue a test event for one webhook; return the notification's id."""
    who = _Addressee(Audience.WEBHOOK, webhook_id)
    return _insert(session, [_row(Event.TEST, company_id, {}, now, who, None)], None, None)[0]


def _insert(
    session: Session, rows: list[dict[str, Any]], checkpoint_id: int | None, once: str | None
) -> list[int]:
    shared = {"checkpoint_id": checkpoint_id, "event_id": uuid.uuid4(), "once": once}
    statement = insert(Notification).values([row | shared for row in rows]).on_conflict_do_nothing()
    # PostgreSQL delivers NOTIFY at commit, so the sender never wakes before it can see the rows.
    queued = session.execute(statement.returning(Notification.id, func.pg_notify(CHANNEL, "")))
    return [row.id for row in queued]


def queue_status_change(
    session: Session, delivery: Delivery, checkpoint: DeliveryCheckpoint, previous_status: str, now: datetime
) -> None:
    if checkpoint.status in FINAL:
        _expire_forecasts(session, delivery.id, now)
    facts = {
        "occurred_at": checkpoint.occurred_at,
        "status": checkpoint.status,
        "previous_status": previous_status,
        "reason": checkpoint.reason,
    }
    queue(
        session,
        Event.STATUS_CHANGED,
        delivery.company_id,
        facts,
        now,
        delivery=delivery,
        checkpoint_id=checkpoint.id,
    )


def _expire_forecasts(session: Session, delivery_id: int, now: datetime) -> None:
    """Expire queued e-mails whose forecast is moot; one whose attempt is running may still become sent."""
    session.execute(
        update(Notification)
        .where(
            Notification.delivery_id == delivery_id,
            Notification.state == State.QUEUED,
            Notification.webhook_id.is_(None),
            Notification.event.in_(sorted(expiry.UNTIL_THE_END)),
        )
        .values(state=State.EXPIRED, finished_at=now, error=expiry.HAS_ENDED)
        .execution_options(synchronize_session=False)
    )


def _addressees(
    session: Session, event: Event, company_id: int, delivery: Delivery | None
) -> Iterator[_Addressee]:
    choice, webhook_ids = _chosen(session, event, company_id)
    if choice.customer and delivery is not None:
        customer = session.get_one(Customer, delivery.customer_id)
        if customer.email:
            yield _Addressee(Audience.CUSTOMER, customer.id, customer.name, customer.email)
    if choice.managers:
        for user_id, name, email in _managers(session, company_id):
            yield _Addressee(Audience.MANAGER, user_id, name, email)
    for webhook_id in webhook_ids:
        yield _Addressee(Audience.WEBHOOK, webhook_id)


def _chosen(session: Session, event: Event, company_id: int) -> tuple[Choice, list[int]]:
    """Return the company's choice and webhook ids in one query, since every status change needs them.

    Disabled webhooks are included: they may be enabled before the notification expires.
    """
    webhooks = (
        select(Webhook.id)
        .where(
            Webhook.company_id == company_id,
            Webhook.deleted_at.is_(None),
            literal(event.value) == func.any(Webhook.events),
        )
        .order_by(Webhook.id)
    )
    setting = and_(NotificationSetting.company_id == Company.id, NotificationSetting.event == event.value)
    query = (
        select(
            NotificationSetting.customer, NotificationSetting.managers, func.array(webhooks.scalar_subquery())
        )
        .select_from(Company)
        .outerjoin(NotificationSetting, setting)
        .where(Company.id == company_id)
    )
    customer, managers, webhook_ids = session.execute(query).one()
    return DEFAULTS[event] if customer is None else Choice(customer, managers), webhook_ids


def _managers(session: Session, company_id: int) -> list[Any]:
    """Return the managers who can log in: neither disabled nor only invited."""
    query = select(AppUser.id, AppUser.name, AppUser.email).where(
        AppUser.company_id == company_id,
        AppUser.role == Role.MANAGER,
        AppUser.disabled_at.is_(None),
        AppUser.password_hash.is_not(None),
    )
    return list(session.execute(query.order_by(AppUser.id)))


def _row(
    event: Event,
    company_id: int,
    facts: Mapping[str, Any],
    now: datetime,
    who: _Addressee,
    delivery: Delivery | None,
) -> dict[str, Any]:
    payload: dict[str, Any] = {"occurred_at": now, **facts}
    if delivery is not None:
        payload["delivery"] = _told_of(delivery, with_addresses=who.email is not None)
    if who.email is not None:
        payload["recipient_name"] = who.name
    return {
        "company_id": company_id,
        "delivery_id": delivery.id if delivery is not None else None,
        "event": event.value,
        "audience": who.audience.value,
        "addressee": who.key,
        "webhook_id": who.id if who.audience is Audience.WEBHOOK else None,
        "recipient": who.email,
        "payload": msgspec.to_builtins(payload),
        "created_at": now,
        "next_attempt_at": now,
        "expires_at": expiry.expires_at(event, who.audience, now, facts.get("eta")),
    }


def _told_of(delivery: Delivery, *, with_addresses: bool) -> dict[str, Any]:
    """Return the delivery's fields.

    Webhooks get ids and the reference; postal addresses go only into e-mails.
    """
    names = [
        "id",
        "reference",
        "status",
        "customer_id",
        "driver_id",
        "vehicle_id",
        "window_start",
        "window_end",
    ]
    if with_addresses:
        names += ["pickup_address", "dropoff_address"]
    return {name: getattr(delivery, name) for name in names}
