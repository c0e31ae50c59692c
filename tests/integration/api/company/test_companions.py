"""Customers, drivers, vehicles, devices, loads, users, the company, the quarantine: what a manager keeps."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.identities import mqtt_secret, shard_of
from core.models.record import Outbox
from core.records import quarantine
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer


def outbox(session: Session) -> list[tuple[str, Any]]:
    session.rollback()
    return [tuple(row) for row in session.execute(select(Outbox.kind, Outbox.payload).order_by(Outbox.id))]


@pytest.mark.parametrize(
    ("noun", "body", "change"),
    [
        ("customers", {"name": "Ada", "email": "ada@example.com"}, {"phone": "+49 30 1"}),
        ("drivers", {"name": "Bob", "licence_number": "B-1"}, {"name": "Bobby"}),
        ("vehicles", {"name": "Van", "plate": "B-AB 1"}, {"plate": None}),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_companion_is_added_read_edited_archived_and_restored(
    client: TestClient,
    house: House,
    settings: Settings,
    noun: str,
    body: dict[str, Any],
    change: dict[str, Any],
    slash: str,
) -> None:
    headers = bearer(settings, house.manager)
    made = client.post(f"/{noun}{slash}", json=body, headers=headers)
    assert made.status_code == 201, made.text
    path = made.headers["location"].rstrip("/") + slash
    assert client.get(path, headers=headers).json() == made.json()
    edited = client.patch(path, json=change, headers=headers).json()
    assert edited == made.json() | change
    gone = client.post(f"{path.rstrip('/')}/archive{slash}", headers=headers).json()
    assert gone["archived_at"] is not None
    again = client.post(f"{path.rstrip('/')}/archive{slash}", headers=headers).json()
    assert again["archived_at"] == gone["archived_at"]
    back = client.post(f"{path.rstrip('/')}/restore{slash}", headers=headers).json()
    assert back["archived_at"] is None
    assert_problem(client.patch(path, json={"company_id": 1}, headers=headers), 422, "InvalidValue")
    assert_problem(client.patch(path, json={"name": None}, headers=headers), 422, "InvalidValue")


@pytest.mark.parametrize("noun", ["customer", "driver", "vehicle"])
def test_what_an_open_delivery_refers_to_is_not_archived(
    client: TestClient, house: House, settings: Settings, session: Session, noun: str
) -> None:
    headers = bearer(settings, house.manager)
    row_id = getattr(house.delivery, f"{noun}_id")
    answer = client.post(f"/{noun}s/{row_id}/archive/", headers=headers)
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["deliveries"] == [house.delivery.id]
    house.delivery.status = Status.DELIVERED
    session.commit()
    assert client.post(f"/{noun}s/{row_id}/archive/", headers=headers).status_code == 200
    body = {
        "reference": "R",
        "customer_id": factories.customer(session, house.company).id,
        "pickup": {"address": "a"},
        "dropoff": {"address": "b"},
    }
    session.commit()
    answer = client.post("/deliveries/", json=body | {f"{noun}_id": row_id}, headers=headers)
    assert_problem(answer, 422, "InvalidValue")
    assert answer.json()["errors"][0]["field"] == f"{noun}_id"


def test_archived_vehicle_is_cleared_from_the_broker_once(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    vehicle = factories.vehicle(session, house.company)
    session.commit()
    for _ in range(2):
        client.post(f"/vehicles/{vehicle.id}/archive/", headers=bearer(settings, house.manager))
    assert outbox(session) == [("vehicle_gone", {"company": house.company.slug, "id": vehicle.id})]


def test_archived_drivers_user_is_locked_out(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    user = factories.user(session, house.company, Role.DRIVER)
    session.commit()
    manager, driver = bearer(settings, house.manager), bearer(settings, user)
    assert client.get("/me/", headers=driver).status_code == 200
    client.post(f"/drivers/{user.driver_id}/archive/", headers=manager)
    assert_problem(client.get("/me/", headers=driver), 401, "NotAuthenticated")
    assert_problem(client.post(f"/users/{user.id}/enable/", headers=manager), 409, "Conflict")


def test_device_gets_an_id_credentials_and_new_ones(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    device = client.post("/devices", json={"label": "Unit 1"}, headers=headers).json()
    number = device["id"]
    first = client.post(f"/devices/{number}/credentials", headers=headers).json()
    key = settings.mqtt_key.get_secret_value()
    assert first["user_name"] == number
    assert first["secret"] == mqtt_secret(key, number)
    assert first["topics"]["location"] == f"up/{shard_of(number)}/{number}/location"
    rotated = client.post(f"/devices/{number}/rotate", headers=headers).json()
    assert rotated["secret"] == mqtt_secret(key, number, 2)
    assert client.post(f"/devices/{number}/credentials/", headers=headers).json() == rotated
    client.post(f"/devices/{number}/disable", headers=headers)
    client.post(f"/devices/{number}/disable", headers=headers)
    client.post(f"/devices/{number}/enable", headers=headers)
    assert outbox(session) == [("device", {"id": number})] * 4


def test_device_is_bound_to_a_vehicle_or_a_driver(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, path = bearer(settings, house.manager), f"/devices/{house.device.id}/"
    driver_id = house.driver.driver_id
    bound = client.patch(path, json={"driver_id": driver_id}, headers=headers).json()
    assert (bound["vehicle_id"], bound["driver_id"]) == (None, driver_id)
    listed = client.get("/devices/", params={"driver_id": driver_id}, headers=headers).json()["items"]
    assert [device["id"] for device in listed] == [house.device.id]
    both = {"vehicle_id": house.vehicle.id, "driver_id": driver_id}
    assert_problem(client.patch(path, json=both, headers=headers), 422, "InvalidValue")
    freed = client.patch(path, json={"driver_id": None}, headers=headers).json()
    assert (freed["vehicle_id"], freed["driver_id"]) == (None, None)


def test_what_is_no_device_id_is_not_found(client: TestClient, house: House, settings: Settings) -> None:
    for device_id in ("K3V9X0Q2MA", "a+b", "%23", "a%2Fb", "x" * 300, "%00", "'; DROP TABLE"):
        answer = client.get(f"/devices/{device_id}/", headers=bearer(settings, house.manager))
        assert_problem(answer, 404, "NotFound")


def test_load_order_is_edited_until_carried_then_kept(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.manager)
    body = {"reference": "L", "items": [{"description": "Box"}, {"description": "Bag", "quantity": 4}]}
    order = client.post("/load-orders", json=body, headers=headers).json()
    assert [item["quantity"] for item in order["items"]] == [1, 4]
    path = f"/load-orders/{order['id']}"
    one = {"items": [{"description": "Box", "volume_m3": 0.5}]}
    assert [i["volume_m3"] for i in client.patch(path, json=one, headers=headers).json()["items"]] == [0.5]
    assert client.patch(path, json={"reference": "M"}, headers=headers).json()["reference"] == "M"
    listed = client.get("/load-orders/", headers=headers).json()["items"]
    assert [(one["item_count"], one["weight_kg"], one["volume_m3"]) for one in listed] == [
        (1, 12.5, None),
        (1, None, 0.5),
    ]
    assert "items" not in listed[0]
    change = {"load_order_id": order["id"]}
    detail = client.patch(f"/deliveries/{house.delivery.id}/", json=change, headers=headers).json()
    assert detail["load"]["reference"] == "M"
    assert_problem(client.delete(path, headers=headers), 409, "Conflict")
    client.patch(f"/deliveries/{house.delivery.id}/", json={"load_order_id": None}, headers=headers)
    assert client.delete(path, headers=headers).status_code == 204
    assert_problem(client.get(path, headers=headers), 404, "NotFound")


def test_users_of_the_four_roles_are_added(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    driver, customer = factories.driver(session, house.company), factories.customer(session, house.company)
    session.commit()
    person = {"name": "New", "password": "long enough"}
    extra: dict[str, dict[str, int]] = {
        "manager": {},
        "operator": {},
        "driver": {"driver_id": driver.id},
        "customer": {"customer_id": customer.id},
    }
    made = {}
    for role, fields in extra.items():
        body = person | fields | {"role": role, "email": f"New-{role}@Example.com"}
        answer = client.post("/users/", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        made[role] = answer.json()
        assert made[role]["email"] == f"new-{role}@example.com"
        assert "password" not in answer.text
    assert outbox(session) == [("operator", {"id": made[role]["id"]}) for role in ("manager", "operator")]
    again = client.post(
        "/users", json=person | {"role": "manager", "email": "NEW-manager@example.com"}, headers=headers
    )
    assert_problem(again, 409, "Conflict")
    twice = person | {"role": "driver", "email": "x@example.com", "driver_id": driver.id}
    assert client.post("/users", json=twice, headers=headers).json()["field"] == "driver_id"
    drivers = client.get("/users/", params={"role": "driver"}, headers=headers).json()["items"]
    assert {user["role"] for user in drivers} == {"driver"}


BAD_USERS: list[tuple[dict[str, Any], str]] = [
    ({"role": "driver"}, "driver_id"),
    ({"role": "customer"}, "customer_id"),
    ({"role": "manager", "driver_id": 1}, "driver_id"),
    ({"role": "owner"}, "role"),
    ({"role": "manager", "email": "nobody"}, "email"),
    ({"role": "manager", "email": "a@b.example>"}, "email"),
    ({"role": "manager", "email": "<x@b.example>"}, "email"),
    ({"role": "manager", "email": "a@b"}, "email"),
    ({"role": "manager", "password": "short"}, "password"),
    ({"role": "manager", "company_id": 1}, "company_id"),
]


def test_bad_user_is_refused_by_the_name_of_its_field(
    client: TestClient, house: House, settings: Settings
) -> None:
    for fields, field in BAD_USERS:
        body = {"email": "x@example.com", "name": "X", "password": "long enough"} | fields
        answer = client.post("/users/", json=body, headers=bearer(settings, house.manager))
        assert_bad_field(answer, field)


def test_rows_with_addresses_refused_today_keep_working(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    user = factories.user(session, house.company, email="old@b")
    customer = factories.customer(session, house.company, email="<x@b.example>")
    session.commit()
    headers = bearer(settings, house.manager)
    for noun, row in (("users", user), ("customers", customer)):
        path = f"/{noun}/{row.id}/"
        assert client.get(path, headers=headers).json()["email"] == row.email
        listed = client.get(f"/{noun}/", headers=headers).json()["items"]
        assert row.email in [one["email"] for one in listed]
        renamed = client.patch(path, json={"name": "New Name"}, headers=headers)
        assert (renamed.status_code, renamed.json()["email"]) == (200, row.email)
        assert_bad_field(client.patch(path, json={"email": row.email}, headers=headers), "email")
        assert client.patch(path, json={"email": "right@b.example"}, headers=headers).status_code == 200


def test_a_login_with_an_address_refused_today_works(
    client: TestClient, house: House, session: Session
) -> None:
    for address in ("old@b", "a@b.example>"):
        factories.user(session, house.company, email=address)
        session.commit()
        form = {"username": address.upper(), "password": factories.PASSWORD}
        assert client.post("/auth/token", data=form).status_code == 200


def test_user_edit_refuses_what_never_changes(client: TestClient, house: House, settings: Settings) -> None:
    for field in ("role", "company_id", "id", "driver_id", "password", "token_epoch"):
        answer = client.patch(
            f"/users/{house.driver.id}/", json={field: 1}, headers=bearer(settings, house.manager)
        )
        assert_bad_field(answer, field)


def test_last_manager_stays(client: TestClient, house: House, settings: Settings, session: Session) -> None:
    headers, path = bearer(settings, house.manager), f"/users/{house.manager.id}/disable/"
    assert_problem(client.post(path, headers=headers), 409, "Conflict")
    factories.user(session, house.company)
    session.commit()
    assert client.post(path, headers=headers).status_code == 200
    assert outbox(session) == [("operator", {"id": house.manager.id})]


def test_company_settings_are_edited(client: TestClient, house: House, settings: Settings) -> None:
    headers = bearer(settings, house.manager)
    body = {"time_zone": "Europe/Berlin", "checkpoint_distance_m": 0}
    edited = client.patch("/company", json=body, headers=headers).json()
    assert edited["time_zone"] == "Europe/Berlin"
    assert edited["checkpoint_distance_m"] == 0
    assert client.get("/company/", headers=headers).json() == edited
    for bad in ({"time_zone": "Mars/Olympus"}, {"slug": "other"}, {"checkpoint_interval_s": -1}):
        answer = client.patch("/company/", json=bad, headers=headers)
        assert_problem(answer, 422, "InvalidValue")
        assert [error["field"] for error in answer.json()["errors"]] == list(bad)
    operator = bearer(settings, house.operator)
    assert client.get("/company/", headers=operator).status_code == 200
    assert_problem(client.patch("/company/", json={"name": "N"}, headers=operator), 403, "Forbidden")


def test_quarantine_shows_the_own_companys_newest_first(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = factories.company(session)
    for company_id, raw in (
        (house.company.id, b"first\xff"),
        (house.company.id, b"x" * 5000),
        (stranger.id, b"no"),
    ):
        one = quarantine.Quarantined(
            company_id=company_id,
            device_id="k3v9x0q2ma",
            topic="up/3/k3v9x0q2ma/location",
            raw=raw,
            reason="bad_json",
            detail="what is it",
        )
        quarantine.keep(session, [one], datetime.now(UTC))
    session.commit()
    headers = bearer(settings, house.manager)
    first = client.get("/quarantine", params={"limit": 1}, headers=headers).json()
    assert (len(first["items"][0]["raw"]), first["items"][0]["raw_bytes"]) == (2000, 5000)
    second = client.get("/quarantine", params={"limit": 1, "cursor": first["next"]}, headers=headers).json()
    assert second["items"][0]["raw"] == "first\\xff"
    assert second["next"] is None
    assert_problem(client.get("/quarantine/", headers=bearer(settings, house.operator)), 403, "Forbidden")
