"""The audit log: what a change writes, what is kept out, and which actors read it."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.accounts import companies, passwords
from core.accounts.api_tokens import Scope
from core.accounts.companies import NewCompany
from core.models.people import AppUser
from core.models.record import AuditEntry
from core.positions import intake
from core.positions.intake import Report
from core.records import audit
from core.rules.enums import Role
from core.rules.fix import Rejection
from core.settings import Settings
from tests.integration.api.auth.test_rights import EDIT
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

Json = dict[str, Any]
PERSONAL = ["Nora Nameless", "nora@private.example", "+49 30 998877", "Privatweg 7", "LIC-4711"]


def entries(client: TestClient, headers: dict[str, str], **query: Any) -> list[Json]:
    """Oldest first."""
    answer = client.get("/audit/", params=query | {"limit": 200}, headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[Json] = answer.json()["items"]
    return items[::-1]


def actions(client: TestClient, headers: dict[str, str], **query: Any) -> list[str]:
    return [entry["action"] for entry in entries(client, headers, **query)]


def everything(session: Session) -> str:
    """The whole log as text, of all companies."""
    session.rollback()
    return str(session.execute(text("SELECT audit_entry::text FROM audit_entry")).scalars().all())


def test_change_shows_actor_subject_before_and_after(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.manager)
    path = f"/vehicles/{house.vehicle.id}/"
    name = house.vehicle.name
    assert client.patch(path, json={"plate": "B-MP 1", "name": name}, headers=headers).status_code == 200
    assert client.patch(path, json={"plate": "B-MP 1"}, headers=headers).status_code == 200
    (entry,) = entries(client, headers)
    assert datetime.now(UTC) - datetime.fromisoformat(entry.pop("at")) < timedelta(minutes=1)
    entry.pop("id")
    assert entry == {
        "actor_kind": "user",
        "actor_id": str(house.manager.id),
        "action": "vehicle.edited",
        "subject_kind": "vehicle",
        "subject_id": str(house.vehicle.id),
        "changes": {"plate": {"before": None, "after": "B-MP 1"}},
    }


def test_refused_change_leaves_no_entry(client: TestClient, house: House, settings: Settings) -> None:
    headers = bearer(settings, house.manager)
    body = {"vehicle_id": 2_000_000_000}
    assert client.patch(f"/devices/{house.device.id}/", json=body, headers=headers).status_code == 422
    path = f"/deliveries/{house.delivery.id}/status/"
    assert client.post(path, json={"status": "delivered"}, headers=headers).status_code == 409
    assert client.post(f"/vehicles/{house.vehicle.id}/archive/", headers=headers).status_code == 409
    assert entries(client, headers) == []


def test_every_change_over_rest_is_written(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    van = factories.vehicle(session, house.company)
    person = factories.user(session, house.company)
    session.commit()
    headers = bearer(settings, house.manager)
    delivery, device = f"/deliveries/{house.delivery.id}/", f"/devices/{house.device.id}/"
    order = f"/load-orders/{house.load_order.id}/"
    user = f"/users/{person.id}/"
    steps: list[tuple[str, str, Json | None, list[str]]] = [
        ("POST", "/customers/", {"name": "N"}, ["customer.added"]),
        ("PATCH", f"/customers/{house.customer.customer_id}/", {"phone": "1"}, ["customer.edited"]),
        ("POST", "/drivers/", {"name": "N"}, ["driver.added"]),
        ("PATCH", f"/drivers/{house.driver.driver_id}/", {"phone": "1"}, ["driver.edited"]),
        ("POST", "/vehicles/", {"name": "N"}, ["vehicle.added"]),
        ("POST", f"/vehicles/{van.id}/archive/", None, ["vehicle.archived"]),
        ("POST", f"/vehicles/{van.id}/archive/", None, []),
        ("POST", f"/vehicles/{van.id}/restore/", None, ["vehicle.restored"]),
        ("POST", f"/vehicles/{van.id}/restore/", None, []),
        ("POST", "/devices/", {"label": "L"}, ["device.added"]),
        ("PATCH", device, {"label": "L"}, ["device.edited"]),
        ("POST", f"{device}credentials/", None, ["device.credentials_shown"]),
        ("POST", f"{device}rotate/", None, ["device.secret_rotated"]),
        ("POST", f"{device}disable/", None, ["device.disabled"]),
        ("POST", f"{device}disable/", None, []),
        ("POST", f"{device}enable/", None, ["device.enabled"]),
        ("PATCH", order, {"reference": "R"}, ["load_order.edited"]),
        ("PATCH", order, {"items": [{"description": "D", "quantity": 1}]}, ["load_order.items_replaced"]),
        ("DELETE", order, None, ["load_order.deleted"]),
        ("PATCH", delivery, {"reference": "R"}, ["delivery.edited"]),
        ("POST", f"{delivery}status/", {"status": "pickup_in_progress"}, ["delivery.status_changed"]),
        ("POST", f"{delivery}status/", {"status": "pickup_in_progress"}, []),
        ("PATCH", "/company/", {"time_zone": "Europe/Berlin"}, ["company.edited"]),
        ("PATCH", user, {"name": "Other"}, ["user.edited"]),
        ("POST", f"{user}reset/", None, ["user.reset_link_made"]),
        ("POST", f"{user}password/", {"password": "another one"}, ["user.password_set"]),
        ("POST", f"{user}disable/", None, ["user.disabled"]),
        ("POST", f"{user}enable/", None, ["user.enabled"]),
        ("POST", "/me/mqtt/rotate/", None, ["user.mqtt_secret_rotated"]),
        ("POST", "/api-tokens/", {"name": "N", "scopes": ["fleet:read"]}, ["api_token.added"]),
        ("DELETE", f"/api-tokens/{house.api_token.id}/", None, ["api_token.revoked"]),
        (
            "POST",
            "/users/",
            {"email": "u@example.com", "name": "N", "role": "manager", "password": "long enough"},
            ["user.added"],
        ),
        (
            "POST",
            "/invitations/",
            {"email": "i@example.com", "name": "N", "role": "manager"},
            ["user.added", "user.invited"],
        ),
        (
            "POST",
            "/deliveries/",
            EDIT
            | {"customer_id": house.customer.customer_id, "items": [{"description": "D", "quantity": 1}]},
            ["load_order.added", "delivery.added"],
        ),
    ]
    seen = 0
    for method, path, body, expected in steps:
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        written = actions(client, headers)
        assert written[seen:] == expected, f"{method} {path}"
        seen = len(written)
    assert {entry["actor_id"] for entry in entries(client, headers)} == {str(house.manager.id)}


def test_archiving_a_driver_names_the_user_it_locks_out(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    person = factories.user(session, house.company, Role.DRIVER)
    session.commit()
    headers = bearer(settings, house.manager)
    assert client.post(f"/drivers/{person.driver_id}/archive/", headers=headers).status_code == 200
    assert actions(client, headers) == ["driver.archived", "user.disabled"]


def test_assignment_shows_the_vehicles(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    van = factories.vehicle(session, house.company)
    session.commit()
    headers = bearer(settings, house.manager)
    path = f"/deliveries/{house.delivery.id}/"
    assert client.patch(path, json={"vehicle_id": van.id}, headers=headers).status_code == 200
    (entry,) = entries(client, headers, action="delivery.edited")
    assert entry["changes"] == {"vehicle_id": {"before": house.vehicle.id, "after": van.id}}


def test_integration_and_driver_are_named_as_actors(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    row, token = factories.api_token(session, house.company, Scope.FLEET_WRITE)
    session.commit()
    bearer_token = {"Authorization": f"Bearer {token}"}
    assert client.post("/vehicles/", json={"name": "V"}, headers=bearer_token).status_code == 201
    path = f"/deliveries/{house.delivery.id}/status/"
    driver = bearer(settings, house.driver)
    assert client.post(path, json={"status": "pickup_in_progress"}, headers=driver).status_code == 200
    by_token, by_driver = entries(client, bearer(settings, house.manager))
    assert (by_token["actor_kind"], by_token["actor_id"]) == ("token", str(row.id))
    assert (by_driver["actor_kind"], by_driver["actor_id"]) == ("user", str(house.driver.id))
    assert by_driver["changes"] == {"status": {"before": "pending", "after": "pickup_in_progress"}}


def test_log_ins_are_written_and_strangers_belong_to_no_company(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    def log_in(email: str, password: str) -> None:
        client.post("/auth/token", data={"username": email, "password": password})

    log_in(house.driver.email, "wrong")
    log_in("nobody@example.com", "wrong")
    log_in(house.driver.email, factories.PASSWORD)
    failed, done = entries(client, bearer(settings, house.manager))
    assert (failed["action"], failed["actor_kind"], failed["subject_id"]) == (
        "user.login_failed",
        "nobody",
        str(house.driver.id),
    )
    assert (done["action"], done["actor_id"]) == ("user.logged_in", str(house.driver.id))
    stranger = select(AuditEntry.action).where(AuditEntry.company_id.is_(None))
    assert session.scalars(stranger).all() == ["user.login_failed"]
    now = datetime.now(UTC)
    assert audit.purge_without_tenant(session, now + timedelta(days=29)) == 0
    assert audit.purge_without_tenant(session, now + timedelta(days=31)) == 1


def test_personal_data_is_named_but_never_written(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    name, email, phone, address, licence = PERSONAL
    headers = bearer(settings, house.manager)
    customer = client.post(
        "/customers/",
        json={"name": name, "email": email, "phone": phone, "address": address},
        headers=headers,
    ).json()
    client.patch(f"/customers/{customer['id']}/", json={"phone": None, "name": f"{name}s"}, headers=headers)
    client.post("/drivers/", json={"name": name, "phone": phone, "licence_number": licence}, headers=headers)
    client.patch(f"/users/{house.driver.id}/", json={"name": name, "email": email}, headers=headers)
    invited = {"email": f"x{email}", "name": name, "role": "operator"}
    invitation = client.post("/invitations/", json=invited, headers=headers).json()
    client.delete(f"/invitations/{invitation['user']['id']}/", headers=headers)
    moved = {"dropoff": {"address": address, "latitude": 52.123456, "longitude": 13.654321}}
    assert client.patch(f"/deliveries/{house.delivery.id}/", json=moved, headers=headers).status_code == 200
    client.post("/auth/token", data={"username": email, "password": "wrong"})
    client.post("/auth/reset", json={"email": email})
    log = everything(session)
    for value in (*PERSONAL, "52.123456", "13.654321"):
        assert value not in log
    (entry,) = entries(client, headers, action="customer.edited")
    assert entry["changes"] == {"phone": None, "name": None}


def test_secrets_are_neither_in_the_audit_log_nor_in_any_log(
    client: TestClient,
    house: House,
    settings: Settings,
    session: Session,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = bearer(settings, house.manager)
    secrets = [factories.PASSWORD, "my first own password", "another password", "wrong guess 123"]
    form = {"username": house.driver.email, "password": factories.PASSWORD}
    body = client.post("/auth/token", data=form).json()
    client.post("/auth/token", data=form | {"password": "wrong guess 123"})
    renewed = client.post("/auth/refresh", json={"refresh_token": body["refresh_token"]}).json()
    secrets += [body["refresh_token"], body["access_token"], renewed["refresh_token"]]
    client.post("/auth/refresh", json={"refresh_token": body["refresh_token"] + "x"})
    invited = {"email": "new@example.com", "name": "N", "role": "operator"}
    link = client.post("/invitations/", json=invited, headers=headers).json()["link"]["token"]
    for _ in range(2):
        client.post("/auth/set-password", json={"token": link, "password": "my first own password"})
    api_token = client.post(
        "/api-tokens/", json={"name": "N", "scopes": ["fleet:read"]}, headers=headers
    ).json()["token"]
    for path in ("/vehicles/", "/me/"):
        client.get(path, headers={"Authorization": f"Bearer {api_token}"})
    shown = client.post(f"/devices/{house.device.id}/credentials/", headers=headers).json()["secret"]
    reset = client.post(f"/users/{house.driver.id}/reset/", headers=headers).json()["token"]
    path = f"/users/{house.driver.id}/password/"
    client.post(path, json={"password": "another password"}, headers=headers)
    secrets += [link, api_token, shown, reset]
    hashes = session.execute(text("SELECT password_hash FROM app_user")).scalars().all()
    secrets += [one for one in hashes if one]
    kept, logged = everything(session), caplog.text
    assert "user.logged_in" in kept
    assert "refused" in logged
    for secret in secrets:
        assert secret not in kept
        assert secret not in logged


def test_database_error_shows_no_values(session: Session, house: House) -> None:
    with pytest.raises(Exception, match="duplicate key") as failed:
        factories.user(session, house.company, email=house.driver.email, password_hash="$argon2id$secret")
    assert "$argon2id$secret" not in str(failed.value)


def test_filters_choose_and_pages_go_on(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    path = f"/vehicles/{house.vehicle.id}/"
    for n in range(5):
        client.patch(path, json={"plate": f"P {n}"}, headers=headers)
    client.patch("/company/", json={"name": "Other"}, headers=headers)
    assert len(entries(client, headers)) == 6
    assert actions(client, headers, subject_kind="company") == ["company.edited"]
    assert len(entries(client, headers, subject_kind="vehicle", subject_id=house.vehicle.id)) == 5
    assert entries(client, headers, subject_kind="vehicle", subject_id=house.vehicle.id + 1) == []
    assert len(entries(client, headers, actor_kind="user", actor_id=house.manager.id)) == 6
    assert entries(client, headers, actor_kind="system") == []
    middle = entries(client, headers)[2]["at"]
    assert len(entries(client, headers, since=middle)) == 4
    assert len(entries(client, headers, until=middle)) == 2
    seen, cursor = [], None
    while True:
        query: Json = {"limit": 4} | ({"cursor": cursor} if cursor else {})
        page = client.get("/audit/", params=query, headers=headers).json()
        seen += [entry["id"] for entry in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("actor_kind", "ghost"),
        ("subject_kind", "Vehicle; --"),
        ("subject_id", "a" * 30),
        ("action", "edited"),
        ("since", "yesterday"),
        ("limit", 1000),
        ("who", "me"),
    ],
)
def test_bad_filter_is_named(
    client: TestClient, house: House, settings: Settings, field: str, value: Any
) -> None:
    answer = client.get("/audit/", params={field: value}, headers=bearer(settings, house.manager))
    assert_bad_field(answer, field)


def test_only_managers_read_and_only_their_own_company(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = furnish(session)
    client.post("/vehicles/", json={"name": "V"}, headers=bearer(settings, stranger.manager))
    for person in (house.operator, house.driver, house.customer):
        assert_problem(client.get("/audit/", headers=bearer(settings, person)), 403, "Forbidden")
    assert entries(client, bearer(settings, house.manager)) == []
    assert actions(client, bearer(settings, stranger.manager)) == ["vehicle.added"]


def test_company_from_the_command_line_was_made_by_the_system(
    client: TestClient, settings: Settings, session: Session
) -> None:
    new = NewCompany(
        slug="acme",
        name="Acme",
        time_zone="UTC",
        manager_email="boss@acme.example",
        manager_name="Boss",
    )
    company = companies.add(session, new, passwords.hash_password("long enough"))
    session.commit()
    boss = session.scalars(select(AppUser).where(AppUser.company_id == company.id)).one()
    made = entries(client, bearer(settings, boss))
    assert [entry["action"] for entry in made] == ["company.added", "user.added"]
    assert {(entry["actor_kind"], entry["actor_id"]) for entry in made} == {("system", None)}
    assert "long enough" not in json.dumps(made)


def test_spoofed_messages_leave_one_entry_a_minute(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    spoofed = Rejection(reason="spoofed", detail="device names another device than the topic does")
    wrong = Rejection(reason="bad_json", detail="is no JSON")
    topic = f"up/0/{house.device.id}/location"
    report = Report(device_id=house.device.id, topic=topic, raw=b"{}", items=[spoofed, wrong, spoofed])
    stranger = Report(device_id="zzzzzzzzzz", topic="up/0/zzzzzzzzzz/location", raw=b"{}", items=[spoofed])
    now = datetime.now(UTC)
    for seconds in (0, 1, 59, 61):
        intake.take(session, [report, report, stranger], now + timedelta(seconds=seconds))
        session.commit()
    assert session.scalar(text("SELECT count(*) FROM audit_entry")) == 2
    for entry in entries(client, bearer(settings, house.manager)):
        assert entry["action"] == "device.spoofed"
        assert (entry["actor_kind"], entry["actor_id"]) == ("device", house.device.id)
        assert entry["subject_id"] == house.device.id
