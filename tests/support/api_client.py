"""The application as it runs, a furnished company, and its people logged in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.app import create_app
from api.auth import tokens
from core.models.account import ApiToken
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Device, Vehicle
from core.models.load_order import LoadOrder
from core.models.notification import Notification, Webhook
from core.models.people import AppUser
from core.models.proof import DeliveryProof
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.services.settings import make_settings


@dataclass(frozen=True)
class House:
    """A company with a person of each role; the delivery is that driver's and that customer's.

    Its ``proof`` has a photo and, though added while it is furnished, no checkpoint.
    """

    company: Company
    manager: AppUser
    operator: AppUser
    driver: AppUser
    customer: AppUser
    vehicle: Vehicle
    device: Device
    load_order: LoadOrder
    delivery: Delivery
    api_token: ApiToken
    webhook: Webhook
    notification: Notification
    proof: DeliveryProof


def furnish(session: Session, status: Status = Status.PENDING) -> House:
    company = factories.company(session)
    driver = factories.user(session, company, Role.DRIVER)
    customer = factories.user(session, company, Role.CUSTOMER)
    vehicle = factories.vehicle(session, company)
    # Sent: a test that counts what is queued counts its own.
    notification = factories.notification(session, company, state="sent", finished_at=datetime.now(UTC))
    factories.attempt(session, notification, code=250, error=None)
    delivery = factories.delivery(
        session,
        company,
        status,
        customer_id=customer.customer_id,
        driver_id=driver.driver_id,
        vehicle_id=vehicle.id,
    )
    house = House(
        company=company,
        manager=factories.user(session, company, Role.MANAGER),
        operator=factories.user(session, company, Role.OPERATOR),
        driver=driver,
        customer=customer,
        vehicle=vehicle,
        device=factories.device(session, company, vehicle_id=vehicle.id),
        load_order=factories.load_order(session, company),
        api_token=factories.api_token(session, company)[0],
        webhook=factories.webhook(session, company, "test"),
        notification=notification,
        delivery=delivery,
        proof=factories.proof(session, delivery),
    )
    session.commit()
    return house


@contextmanager
def running(settings: Settings) -> Iterator[TestClient]:
    """With its lifespan: engine, live part, broker. Errors come as answers, they are not raised."""
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 40000)) as client:
        client.event_hooks = {"response": [require_declared]}
        yield client


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document; nothing is reached for it."""
    return create_app(make_settings("postgresql://nobody@127.0.0.1:1/none")).openapi()


def require_declared(response: httpx.Response) -> None:
    """Every answer in every test is one that the OpenAPI document has, but for what tests break (500)."""
    operations = _operations(response.request.url.path)
    if operations is None or response.status_code == 500:
        return
    where = f"{response.request.method} {response.request.url.path} {response.status_code}"
    operation = operations.get(response.request.method.lower())
    if operation is None:
        assert response.status_code == 405, f"{where} is not in the OpenAPI document"
        return
    if response.status_code == 413 and "requestBody" not in operation:
        return  # for a body that no client that keeps to the document sends
    answer = operation["responses"].get(str(response.status_code))
    assert answer is not None, f"{where} is not in the OpenAPI document"
    content_type = response.headers.get("content-type", "").partition(";")[0]
    assert content_type in answer.get("content", {content_type: {}}), f"{where} {content_type}"


def _operations(path: str) -> dict[str, Any] | None:
    for template, operations in document()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template.removesuffix("/"))
        if re.fullmatch(f"{pattern}/?", path):
            found: dict[str, Any] = operations
            return found
    return None


def bearer(settings: Settings, user: AppUser) -> dict[str, str]:
    """The headers of a request by this user."""
    token = tokens.issue(settings, tokens.TokenKind.ACCESS, user.id, user.token_epoch, datetime.now(UTC))
    return {"Authorization": f"Bearer {token}"}


def assert_problem(response: httpx.Response, status: int, error: str) -> None:
    """One shape for every error."""
    body = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["error"] == error
    assert {"type", "title", "detail"} <= body.keys()


def assert_bad_field(response: httpx.Response, field: str) -> None:
    """422, and exactly this field is named."""
    sent = f"{response.request.url} {response.request.content.decode()}"
    assert response.status_code == 422, f"{sent}: {response.text}"
    assert_problem(response, 422, "InvalidValue")
    assert [error["field"] for error in response.json()["errors"]] == [field], sent
