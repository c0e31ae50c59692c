"""Who may do what within a company. That no company sees another (A10): `test_isolation`."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.people import AppUser
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer, furnish

FIX = {"latitude": 52.5, "longitude": 13.3}
START = {"status": "pickup_in_progress"}
EDIT: dict[str, Any] = {
    "reference": "R",
    "customer_id": 1,
    "pickup": {"address": "a"},
    "dropoff": {"address": "b"},
}
# Every route with the id of a tenant's row: method, path, body.
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/deliveries/{delivery}/", None),
    ("PUT", "/deliveries/{delivery}/", EDIT),
    ("PATCH", "/deliveries/{delivery}/", {"reference": "R"}),
    ("POST", "/deliveries/{delivery}/location/", FIX),
    ("POST", "/deliveries/{delivery}/status/", START),
    ("GET", "/deliveries/{delivery}/checkpoints/", None),
    ("GET", "/deliveries/{delivery}/report/", None),
    ("GET", "/deliveries/{delivery}/track/", None),
    ("POST", "/deliveries/{delivery}/proofs/", None),  # an empty form, which is refused after the rights
    ("GET", "/deliveries/{delivery}/proofs/", None),
    ("GET", "/deliveries/{delivery}/proofs/{proof}/", None),
    ("GET", "/deliveries/{delivery}/proofs/{proof}/images/{number}/", None),
    ("GET", "/customers/{customer}/", None),
    ("PATCH", "/customers/{customer}/", {"name": "N"}),
    ("POST", "/customers/{customer}/archive/", None),
    ("POST", "/customers/{customer}/restore/", None),
    ("POST", "/customers/{customer}/erase/", {"confirm": True}),
    ("GET", "/drivers/{driver}/", None),
    ("PATCH", "/drivers/{driver}/", {"name": "N"}),
    ("POST", "/drivers/{driver}/archive/", None),
    ("POST", "/drivers/{driver}/restore/", None),
    ("GET", "/vehicles/{vehicle}/", None),
    ("PATCH", "/vehicles/{vehicle}/", {"name": "N"}),
    ("POST", "/vehicles/{vehicle}/archive/", None),
    ("POST", "/vehicles/{vehicle}/restore/", None),
    ("GET", "/devices/{device}/", None),
    ("PATCH", "/devices/{device}/", {"label": "L"}),
    ("POST", "/devices/{device}/credentials/", None),
    ("POST", "/devices/{device}/rotate/", None),
    ("POST", "/devices/{device}/disable/", None),
    ("POST", "/devices/{device}/enable/", None),
    ("GET", "/load-orders/{load_order}/", None),
    ("PATCH", "/load-orders/{load_order}/", {"reference": "R"}),
    ("DELETE", "/load-orders/{load_order}/", None),
    ("GET", "/users/{user}/", None),
    ("PATCH", "/users/{user}/", {"name": "N"}),
    ("POST", "/users/{user}/password/", {"password": "long enough"}),
    ("POST", "/users/{user}/reset/", None),
    ("POST", "/users/{user}/disable/", None),
    ("POST", "/users/{user}/enable/", None),
    ("POST", "/invitations/{user}/renew/", None),
    ("DELETE", "/invitations/{user}/", None),
    ("DELETE", "/api-tokens/{api_token}/", None),
    ("GET", "/notifications/{notification}/", None),
    ("POST", "/notifications/{notification}/resend/", None),
    ("GET", "/webhooks/{webhook}/", None),
    ("PATCH", "/webhooks/{webhook}/", {"description": "D"}),
    ("DELETE", "/webhooks/{webhook}/", None),
    ("POST", "/webhooks/{webhook}/rotate/", None),
    ("POST", "/webhooks/{webhook}/disable/", None),
    ("POST", "/webhooks/{webhook}/enable/", None),
    ("POST", "/webhooks/{webhook}/test/", None),
]


def ids(house: House) -> dict[str, Any]:
    return {
        "delivery": house.delivery.id,
        "customer": house.customer.customer_id,
        "driver": house.driver.driver_id,
        "vehicle": house.vehicle.id,
        "device": house.device.id,
        "load_order": house.load_order.id,
        "user": house.manager.id,
        "api_token": house.api_token.id,
        "notification": house.notification.id,
        "webhook": house.webhook.id,
        "proof": house.proof.id,
    }


def walk(
    client: TestClient, headers: dict[str, str], found: dict[str, Any]
) -> list[tuple[str, httpx.Response]]:
    return [
        (
            f"{method} {path}",
            client.request(method, path.format(**found, number=1), json=body, headers=headers),
        )
        for method, path, body in ROUTES
    ]


def everything(session: Session) -> list[Any]:
    """What a stranger could have changed."""
    tables = (
        "delivery",
        "delivery_checkpoint",
        "customer",
        "driver",
        "vehicle",
        "device",
        "load_order",
        "app_user",
        "api_token",
        "notification",
        "webhook",
        "delivery_proof",
        "proof_image",
    )
    session.rollback()
    return [session.execute(text(f"SELECT t.* FROM {table} t ORDER BY id")).all() for table in tables]


def test_every_route_with_an_id_is_walked(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    declared = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if "_id}" in path
    }
    walked = {(method, path.replace("{", "").replace("}", "")) for method, path, _ in ROUTES}
    assert {
        (method, path.replace("{", "").replace("_id}", "").replace("}", "")) for method, path in declared
    } == walked


def test_operator_reads_everything_and_changes_nothing(
    client: TestClient, house: House, session: Session, settings: Settings
) -> None:
    before = everything(session)
    for route, answer in walk(client, bearer(settings, house.operator), ids(house)):
        assert answer.status_code == (200 if route.startswith("GET") else 403), f"{route}: {answer.text}"
    for noun in ("deliveries", "customers", "drivers", "vehicles", "devices", "load-orders", "users"):
        assert client.get(f"/{noun}/", headers=bearer(settings, house.operator)).status_code == 200
    assert everything(session) == before


@pytest.mark.parametrize("role", ["driver", "customer"])
def test_companions_do_not_exist_for_drivers_and_customers(
    client: TestClient, house: House, session: Session, settings: Settings, role: str
) -> None:
    headers = bearer(settings, getattr(house, role))
    before = everything(session)
    for route, answer in walk(client, headers, ids(house)):
        if "/deliveries/" not in route:
            assert answer.status_code == 404, f"{route}: {answer.text}"
    for noun in (
        "customers",
        "drivers",
        "vehicles",
        "devices",
        "load-orders",
        "users",
        "company",
        "quarantine",
    ):
        assert_problem(client.get(f"/{noun}/", headers=headers), 403, "Forbidden")
    session.expire_all()
    assert everything(session)[2:] == before[2:]


def test_driver_of_the_same_company_does_not_see_a_colleagues_delivery(
    client: TestClient, house: House, session: Session, settings: Settings
) -> None:
    other = factories.user(session, house.company, Role.DRIVER)
    session.commit()
    headers = bearer(settings, other)
    for route, answer in walk(client, headers, ids(house)):
        if "/deliveries/" in route:
            assert answer.status_code == 404, f"{route}: {answer.text}"
    assert client.get("/deliveries/", headers=headers).json()["items"] == []


def test_own_delivery_matrix(client: TestClient, house: House, settings: Settings) -> None:
    path = f"/deliveries/{house.delivery.id}/"

    def ask(user: AppUser) -> dict[str, int]:
        headers = bearer(settings, user)
        return {
            "read": client.get(path, headers=headers).status_code,
            "put": client.put(path, json=EDIT, headers=headers).status_code,
            "patch": client.patch(path, json={"reference": "R"}, headers=headers).status_code,
            "location": client.post(f"{path}location/", json=FIX, headers=headers).status_code,
            "status": client.post(f"{path}status/", json=START, headers=headers).status_code,
            "checkpoints": client.get(f"{path}checkpoints/", headers=headers).status_code,
            "report": client.get(f"{path}report/", headers=headers).status_code,
            "track": client.get(f"{path}track/", headers=headers).status_code,
            "proofs": client.get(f"{path}proofs/", headers=headers).status_code,
            "proof": client.get(f"{path}proofs/{house.proof.id}/", headers=headers).status_code,
            "photo": client.get(f"{path}proofs/{house.proof.id}/images/1/", headers=headers).status_code,
            "add": client.post(f"{path}proofs/", data={"note": "N"}, headers=headers).status_code,
        }

    reads = {"read": 200, "checkpoints": 200, "report": 200, "track": 200}
    reads |= {"proofs": 200, "proof": 200, "photo": 200}
    nothing = {"put": 403, "patch": 403, "location": 403, "status": 403, "add": 403}
    assert ask(house.customer) == reads | nothing | {"track": 403}
    assert ask(house.operator) == reads | nothing
    own = {"put": 403, "patch": 403, "location": 409, "status": 200, "add": 201}
    assert ask(house.driver) == reads | own


def test_customer_sees_own_deliveries_without_track_or_other_stops(
    client: TestClient, session: Session, settings: Settings
) -> None:
    house = furnish(session, Status.IN_TRANSIT)
    other = factories.user(session, house.company, Role.CUSTOMER)
    session.commit()
    path = f"/deliveries/{house.delivery.id}"
    assert (
        client.post(f"{path}/location/", json=FIX, headers=bearer(settings, house.driver)).status_code == 201
    )
    for headers, sees in ((bearer(settings, house.manager), True), (bearer(settings, house.customer), False)):
        kinds = {c["kind"] for c in client.get(f"{path}/checkpoints/", headers=headers).json()["items"]}
        assert ("location" in kinds) is sees
        report = client.get(f"{path}/report/", headers=headers).json()
        assert (report["route"] is not None) is sees
        assert (report["counts"] is not None) is sees
        detail = client.get(f"{path}/", headers=headers).json()
        assert detail["position"]["latitude"] == 52.5
        assert detail["eta"] is not None
    assert client.get(path, headers=bearer(settings, other)).status_code == 404
    assert client.get("/deliveries/", headers=bearer(settings, other)).json()["items"] == []
