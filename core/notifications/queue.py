"""Notifications, queued in the transaction of the event that they report (`sender.loop` sends them)."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import and_, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.company import Company
from core.models.delivery import Delivery
from core.models.notification import Notification, NotificationSetting, Webhook
from core.models.people import AppUser, Customer
from core.notifications import expiry
from core.notifications.events import ArrivingSoon, DeliveryByMail, NotificationEvent, WebhookTested
from core.notifications.kinds import DEFAULTS, Audience, Choice, Event
from core.request_ids import CURRENT
from core.rules.enums import Role

MAXIMUM_EVENT_AGE = timedelta(days=1)  # detectors report nothing that is older
CHANNEL = "milepost_notifications"


class _Recipient(msgspec.Struct, frozen=True):
    """``key`` stays the same when the e-mail address changes or is erased."""

    audience: Audience
    key: str
    name: str = ""
    email: str | None = None
    webhook_id: int | None = None


def queue(
    session: Session,
    company_id: int,
    event: NotificationEvent,
    now: datetime,
    *,
    occurred_at: datetime | None = None,
    delivery: Delivery | None = None,
    checkpoint_id: int | None = None,
    once: str | None = None,
) -> int:
    """Queue a notification for each recipient that the company chose; return how many are new.

    Without ``occurred_at`` the event occurs now. With ``once`` (say ``delivery:42``) no recipient is notified
    of the same again, however often it is queued. Each notification expires in its time
    (`core.notifications.expiry`).
    """
    recipients = _recipients(session, event.kind, company_id, delivery)
    rows = (_row(event, company_id, occurred_at or now, now, one, delivery) for one in recipients)
    return len(_insert(session, rows, checkpoint_id, once))


def queue_test(session: Session, company_id: int, webhook_id: int, now: datetime) -> int:
    """Queue a test event for one webhook; return the notification's id."""
    row = _row(WebhookTested(), company_id, now, now, _endpoint(webhook_id), None)
    return _insert(session, [row], None, None)[0]


def _insert(
    session: Session, rows: Iterable[dict[str, Any]], checkpoint_id: int | None, once: str | None
) -> list[int]:
    shared = {"checkpoint_id": checkpoint_id, "event_id": uuid.uuid4(), "once": once}
    shared["request_id"] = CURRENT.get()
    values = [row | shared for row in rows]
    if not values:
        return []
    statement = insert(Notification).values(values).on_conflict_do_nothing()
    # PostgreSQL delivers NOTIFY at commit, so the sender never wakes before it can see the rows.
    queued = session.execute(statement.returning(Notification.id, func.pg_notify(CHANNEL, "")))
    return [row.id for row in queued]


def _recipients(
    session: Session, event: Event, company_id: int, delivery: Delivery | None
) -> list[_Recipient]:
    """Return the recipients of an event: the company's choice per audience, and its webhooks' own.

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
    # One query, because every status change needs it.
    query = (
        select(
            NotificationSetting.customer, NotificationSetting.managers, func.array(webhooks.scalar_subquery())
        )
        .select_from(Company)
        .outerjoin(NotificationSetting, setting)
        .where(Company.id == company_id)
    )
    customer, managers, webhook_ids = session.execute(query).one()
    choice = DEFAULTS[event] if customer is None else Choice(customer, managers)
    found = []
    if choice.customer and delivery is not None:
        found += _customer(session, delivery.customer_id)
    if choice.managers:
        found += _managers(session, company_id)
    return found + [_endpoint(webhook_id) for webhook_id in webhook_ids]


def _customer(session: Session, customer_id: int) -> list[_Recipient]:
    customer = session.get_one(Customer, customer_id)
    if not customer.email:
        return []
    return [_Recipient(Audience.CUSTOMER, f"customer:{customer.id}", customer.name, customer.email)]


def _managers(session: Session, company_id: int) -> list[_Recipient]:
    """Return the managers who can log in: neither disabled nor only invited."""
    query = select(AppUser.id, AppUser.name, AppUser.email).where(
        AppUser.company_id == company_id,
        AppUser.role == Role.MANAGER,
        AppUser.disabled_at.is_(None),
        AppUser.password_hash.is_not(None),
    )
    return [
        _Recipient(Audience.MANAGER, f"user:{user_id}", name, email)
        for user_id, name, email in session.execute(query.order_by(AppUser.id))
    ]


def _endpoint(webhook_id: int) -> _Recipient:
    return _Recipient(Audience.WEBHOOK, f"webhook:{webhook_id}", webhook_id=webhook_id)


def _row(
    event: NotificationEvent,
    company_id: int,
    occurred_at: datetime,
    now: datetime,
    recipient: _Recipient,
    delivery: Delivery | None,
) -> dict[str, Any]:
    is_mail = recipient.email is not None
    arrives_at = event.eta if isinstance(event, ArrivingSoon) else None
    payload = {"occurred_at": occurred_at, **msgspec.structs.asdict(event)}
    if is_mail:
        payload["recipient_name"] = recipient.name
    if is_mail and delivery is not None:
        payload["delivery"] = msgspec.convert(delivery, DeliveryByMail, from_attributes=True)
    return {
        "company_id": company_id,
        "delivery_id": delivery.id if delivery is not None else None,
        "event": event.kind.value,
        "audience": recipient.audience.value,
        "addressee": recipient.key,
        "webhook_id": recipient.webhook_id,
        "recipient": recipient.email,
        "payload": msgspec.to_builtins(payload),
        "created_at": now,
        "next_attempt_at": now,
        "expires_at": expiry.expires_at(event.kind, recipient.audience, now, arrives_at),
    }
