"""Rows with sane defaults, inserted by ORM: each factory takes only what the test is about.

Every function flushes, none commits: ``session.commit()`` when another connection shall see the rows.
"""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core import random_tokens
from core.access.actors import Actor
from core.accounts import api_tokens, passwords
from core.identities import new_device_id
from core.models.account import ApiToken
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.fleet import Device, Vehicle
from core.models.load_order import LoadItem, LoadOrder
from core.models.notification import Notification, NotificationAttempt, Webhook
from core.models.people import AppUser, Customer, Driver
from core.models.proof import DeliveryProof, ProofImage
from core.rules.enums import CheckpointKind, ImageKind, Role, Status

PASSWORD = "correct horse battery"
PICKUP = (52.5200, 13.4050)
DROPOFF = (52.3906, 13.0645)
_numbers = count(1)
Row = TypeVar("Row")


@cache
def password_hash() -> str:
    """Of `PASSWORD`; made once, for hashing is slow on purpose."""
    return passwords.hash_password(PASSWORD)


def company(session: Session, **values: Any) -> Company:
    number = next(_numbers)
    return _add(session, Company(**{"slug": f"company-{number}", "name": f"Company {number}"} | values))


def customer(session: Session, company: Company, **values: Any) -> Customer:
    return _add(session, Customer(**{"company_id": company.id, "name": "Clara Customer"} | values))


def driver(session: Session, company: Company, **values: Any) -> Driver:
    return _add(session, Driver(**{"company_id": company.id, "name": "Dora Driver"} | values))


def vehicle(session: Session, company: Company, **values: Any) -> Vehicle:
    number = next(_numbers)
    return _add(session, Vehicle(**{"company_id": company.id, "name": f"Van {number}"} | values))


def user(session: Session, company: Company, role: Role = Role.MANAGER, **values: Any) -> AppUser:
    """A driver's or customer's user gets a driver or customer of its own unless one is named."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "company_id": company.id,
        "email": f"{role.value}{number}@example.com",
        "name": f"{role.value.title()} {number}",
        "role": role,
        "password_hash": password_hash(),
    }
    if role is Role.DRIVER and "driver_id" not in values:
        defaults["driver_id"] = driver(session, company).id
    if role is Role.CUSTOMER and "customer_id" not in values:
        defaults["customer_id"] = customer(session, company).id
    return _add(session, AppUser(**defaults | values))


def device(session: Session, company: Company, **values: Any) -> Device:
    """Bound to nothing unless ``vehicle_id`` or ``driver_id`` is given."""
    defaults = {"id": new_device_id(), "company_id": company.id, "label": "GPS unit"}
    return _add(session, Device(**defaults | values))


def load_order(session: Session, company: Company, **values: Any) -> LoadOrder:
    items = [LoadItem(company_id=company.id, description="Crate of apples", quantity=2, weight_kg=12.5)]
    defaults = {"company_id": company.id, "reference": f"L-{next(_numbers)}", "items": items}
    return _add(session, LoadOrder(**defaults | values))


def delivery(session: Session, company: Company, status: Status = Status.PENDING, **values: Any) -> Delivery:
    """With its status checkpoint. One that is not pending has a driver and a vehicle and was started."""
    defaults: dict[str, Any] = {
        "company_id": company.id,
        "reference": f"D-{next(_numbers)}",
        "status": status,
        "pickup_address": "Alexanderplatz 1, Berlin",
        "pickup_latitude": PICKUP[0],
        "pickup_longitude": PICKUP[1],
        "dropoff_address": "Am Alten Markt 1, Potsdam",
        "dropoff_latitude": DROPOFF[0],
        "dropoff_longitude": DROPOFF[1],
    }
    if "customer_id" not in values:
        defaults["customer_id"] = customer(session, company).id
    if status is not Status.PENDING:
        defaults["started_at"] = datetime.now(UTC)
        if "driver_id" not in values:
            defaults["driver_id"] = driver(session, company).id
        if "vehicle_id" not in values:
            defaults["vehicle_id"] = vehicle(session, company).id
    row = _add(session, Delivery(**defaults | values))
    checkpoint(session, row)
    return row


def api_token(session: Session, company: Company, *scopes: str, **values: Any) -> tuple[ApiToken, str]:
    """The row and the secret to send as a bearer."""
    secret = random_tokens.make(api_tokens.PREFIX)
    defaults: dict[str, Any] = {
        "company_id": company.id,
        "name": f"Integration {next(_numbers)}",
        "token_hash": random_tokens.digest(secret),
        "hint": secret[-4:],
        "scopes": list(scopes),
    }
    return _add(session, ApiToken(**defaults | values)), secret


def checkpoint(session: Session, delivery: Delivery, **values: Any) -> DeliveryCheckpoint:
    """A status checkpoint of the delivery as it stands."""
    now = datetime.now(UTC)
    defaults = {
        "company_id": delivery.company_id,
        "delivery_id": delivery.id,
        "kind": CheckpointKind.STATUS,
        "status": delivery.status,
        "vehicle_id": delivery.vehicle_id,
        "driver_id": delivery.driver_id,
        "occurred_at": now,
        "recorded_at": now,
    }
    return _add(session, DeliveryCheckpoint(**defaults | values))


def proof(session: Session, delivery: Delivery, **values: Any) -> DeliveryProof:
    """With one photo, whose bytes are no picture; without its checkpoint."""
    now = datetime.now(UTC)
    defaults = {
        "company_id": delivery.company_id,
        "delivery_id": delivery.id,
        "recipient_name": "Rita Recipient",
        "occurred_at": now,
        "recorded_at": now,
    }
    row = _add(session, DeliveryProof(**defaults | values))
    content = b"\xff\xd8\xff"
    _add(
        session,
        ProofImage(
            company_id=row.company_id,
            proof_id=row.id,
            number=1,
            kind=ImageKind.PHOTO,
            media_type="image/jpeg",
            width=4,
            height=3,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).digest(),
            content=content,
        ),
    )
    return row


def actor(company: Company, user: AppUser) -> Actor:
    """What a token of this user stands for."""
    return Actor(
        company_id=company.id,
        company_slug=company.slug,
        role=user.role,
        user_id=user.id,
        driver_id=user.driver_id,
        customer_id=user.customer_id,
    )


def webhook(session: Session, company: Company, *events: str, **values: Any) -> Webhook:
    """Of status changes, unless ``events`` are given."""
    defaults: dict[str, Any] = {
        "company_id": company.id,
        "url": f"https://hooks.example.com/{next(_numbers)}",
        "events": list(events) or ["status_changed"],
        "secret_version": 1,
        "failures": 0,
    }
    return _add(session, Webhook(**defaults | values))


def notification(session: Session, company: Company, **values: Any) -> Notification:
    """A queued e-mail to a customer, or a call when a ``webhook_id`` is given."""
    now, number = datetime.now(UTC), next(_numbers)
    is_call = "webhook_id" in values
    defaults: dict[str, Any] = {
        "company_id": company.id,
        "event": "status_changed",
        "event_id": uuid.uuid4(),
        "audience": "webhook" if is_call else "customer",
        "addressee": f"webhook:{values['webhook_id']}" if is_call else f"customer:{number}",
        "recipient": None if is_call else f"customer{number}@example.com",
        "payload": {"occurred_at": now.isoformat(), "status": "delivered"},
        "state": "queued",
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
        "expires_at": now + timedelta(days=1),
    }
    return _add(session, Notification(**defaults | values))


def attempt(session: Session, notification: Notification, **values: Any) -> NotificationAttempt:
    """The notification's first, failed."""
    now = datetime.now(UTC)
    defaults: dict[str, Any] = {
        "company_id": notification.company_id,
        "notification_id": notification.id,
        "number": 1,
        "started_at": now,
        "finished_at": now,
        "duration_ms": 12,
        "code": 500,
        "error": "HTTP status 500",
    }
    return _add(session, NotificationAttempt(**defaults | values))


def _add(session: Session, row: Row) -> Row:
    session.add(row)
    session.flush()
    return row
