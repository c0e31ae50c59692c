"""API tokens: made, scoped, revoked; and every route of the document walked without its scope."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.auth import scopes
from core import random_tokens
from core.accounts.api_tokens import Scope
from core.settings import Settings
from tests.integration.api.auth.test_auth import BAD, RIGHT, times
from tests.integration.api.auth.test_rights import EDIT, ROUTES, ids
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

NEVER = {"people:write", "api-tokens:write", "api-tokens:read"}
NEW_USER = {"email": "new@example.com", "name": "N", "role": "operator"}
# Bodies that pass validation, for routes without an id; those with one are in `ROUTES`.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/deliveries/"): EDIT,
    ("POST", "/customers/"): {"name": "N"},
    ("POST", "/drivers/"): {"name": "N"},
    ("POST", "/vehicles/"): {"name": "N"},
    ("POST", "/devices/"): {"label": "L"},
    ("POST", "/load-orders/"): {"reference": "R", "items": [{"description": "D", "quantity": 1}]},
    ("POST", "/users/"): NEW_USER | {"password": "long enough"},
    ("POST", "/invitations/"): NEW_USER,
    ("POST", "/api-tokens/"): {"name": "N", "scopes": ["fleet:read"]},
    ("PATCH", "/company/"): {"name": "N"},
    ("POST", "/webhooks/"): {"url": "https://hooks.example.com/", "events": ["late"]},
    ("PATCH", "/notifications/settings/"): {"late_after_min": 5},
    ("PUT", "/notifications/templates/{event}/{audience}/"): {"subject": "S", "text": "T"},
    ("POST", "/notifications/templates/{event}/{audience}/preview/"): {},
    ("POST", "/me/password/"): {"current_password": "x", "new_password": "long enough"},
}


def api(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def routes(client: TestClient) -> dict[tuple[str, str], Any]:
    """Every route of the document that wants a token, with a body that passes where one is due."""
    with_ids = {
        (method, path.replace("}", "_id}")): body
        for method, path, body in ROUTES
        if "{" in path and body is not None
    }
    bodies = with_ids | BODIES
    return {
        (method.upper(), path): bodies.get((method.upper(), path), {} if "requestBody" in operation else None)
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    }


def ask(client: TestClient, house: House, route: tuple[str, str], body: Any, token: str) -> Any:
    method, path = route
    found = {f"{noun}_id": key for noun, key in ids(house).items()}
    found |= {
        "event": "late",
        "audience": "manager",
        "number": 1,
        "day": datetime.now(UTC).date().isoformat(),
    }
    return client.request(method, path.format(**found), json=body, headers=api(token))


def test_secret_is_shown_once_and_stored_as_a_hash(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    body = {"name": "Web shop", "scopes": ["deliveries:read", "deliveries:write", "deliveries:read"]}
    answer = client.post("/api-tokens/", json=body, headers=headers)
    assert answer.status_code == 201
    made = answer.json()
    assert made["token"].startswith("mp_")
    assert len(made["token"]) >= 43
    assert made["hint"] == made["token"][-4:]
    assert made["scopes"] == ["deliveries:read", "deliveries:write"]
    assert made["created_by"] == house.manager.id
    listed = client.get("/api-tokens/", headers=headers)
    assert made["token"] not in listed.text
    assert {item["id"] for item in listed.json()["items"]} == {house.api_token.id, made["id"]}
    stored = session.scalar(text("SELECT token_hash FROM api_token WHERE id = :i"), {"i": made["id"]})
    assert bytes(stored) == random_tokens.digest(made["token"])
    assert client.get("/deliveries/", headers=api(made["token"])).status_code == 200


def test_every_route_without_its_scope_is_403(client: TestClient, house: House, session: Session) -> None:
    for route, body in routes(client).items():
        needed = scopes.NEEDED.get(route)
        others = [scope for scope in Scope if scope is not needed]
        _, token = factories.api_token(session, house.company, *others)
        session.commit()
        answer = ask(client, house, route, body, token)
        assert answer.status_code == 403, f"{route}: give it a body in BODIES: {answer.text}"
        assert_problem(answer, 403, "Forbidden")
        assert answer.json().get("scope") == needed


def test_every_route_with_its_scope_alone_is_done(client: TestClient, house: House, session: Session) -> None:
    for route, body in routes(client).items():
        if (needed := scopes.NEEDED.get(route)) is None:
            continue
        other = furnish(session)
        _, token = factories.api_token(session, other.company, needed)
        session.commit()
        answer = ask(client, other, route, body, token)
        assert answer.status_code not in {401, 403, 404}, f"{route}: {answer.text}"
        assert answer.status_code < 500, f"{route}: {answer.text}"


def test_integration_repeats_its_own_status_change_and_no_other_does(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    shop, token = factories.api_token(session, house.company, "deliveries:write", "deliveries:read")
    _, another = factories.api_token(session, house.company, "deliveries:write")
    session.commit()
    path = f"/deliveries/{house.delivery.id}"

    def fail(headers: dict[str, str]) -> Any:
        return client.post(f"{path}/status/", json={"status": "failed", "reason": "lost"}, headers=headers)

    first, again = fail(api(token)), fail(api(token))
    assert [answer.json()["result"] for answer in (first, again)] == ["changed", "unchanged"]
    assert first.json()["checkpoint"] == again.json()["checkpoint"]
    assert first.json()["checkpoint"]["actor"] == {
        "kind": "token",
        "user_id": None,
        "driver_id": None,
        "device_id": None,
        "api_token_id": shop.id,
    }
    for other in (api(another), bearer(settings, house.manager)):
        assert_problem(fail(other), 409, "InvalidTransition")


def test_the_table_names_no_route_that_shows_secrets_or_changes_people() -> None:
    assert not NEVER & {scope.value for scope in Scope}
    for method, path in scopes.NEEDED:
        is_secret = any(
            word in path for word in ("credentials", "rotate", "mqtt", "password", "token", "/me/")
        )
        assert not is_secret, path
        assert method in {"GET", "WEBSOCKET"} or not path.startswith(
            ("/users", "/invitations", "/drivers")
        ), path


def test_revoked_expired_and_unknown_tokens_answer_as_every_bad_token(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    now = datetime.now(UTC)
    every = list(Scope)
    _, expired = factories.api_token(session, house.company, *every, expires_at=now)
    row, revoked = factories.api_token(session, house.company, *every, expires_at=now + timedelta(days=1))
    session.commit()
    assert client.get("/deliveries/", headers=api(revoked)).status_code == 200
    path = f"/api-tokens/{row.id}/"
    assert client.delete(path, headers=bearer(settings, house.manager)).status_code == 204
    assert client.delete(path, headers=bearer(settings, house.manager)).status_code == 204
    bad = [expired, revoked, "mp_", "mp_unknown", f"mp_{'x' * 5000}", revoked + "x", revoked[:-1]]
    claims = RIGHT | times() | {"sub": str(house.manager.id)}
    answers = [client.get("/deliveries/", headers=api(token)) for token in bad]
    answers.append(client.get("/deliveries/", headers=api(BAD["other key"](claims, settings))))
    for answer in answers:
        assert_problem(answer, 401, "NotAuthenticated")
    assert len({answer.text for answer in answers}) == 1
    # On a route that takes no API token at all, too.
    assert client.get("/me/", headers=api("mp_unknown")).text == answers[0].text


def test_token_outlives_its_maker_until_it_is_revoked(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    maker = factories.user(session, house.company)
    session.commit()
    body = {"name": "Web shop", "scopes": ["deliveries:read"]}
    made = client.post("/api-tokens/", json=body, headers=bearer(settings, maker)).json()
    manager = bearer(settings, house.manager)
    assert client.post(f"/users/{maker.id}/disable/", headers=manager).status_code == 200
    assert client.get("/deliveries/", headers=api(made["token"])).status_code == 200
    assert client.delete(f"/api-tokens/{made['id']}/", headers=manager).status_code == 204
    assert client.get("/deliveries/", headers=api(made["token"])).status_code == 401


def test_token_acts_in_its_company_only(client: TestClient, house: House, session: Session) -> None:
    stranger = furnish(session)
    _, token = factories.api_token(session, house.company, *Scope)
    session.commit()
    shown = client.get("/deliveries/", headers=api(token)).json()["items"]
    assert [item["id"] for item in shown] == [house.delivery.id]
    assert client.get(f"/deliveries/{stranger.delivery.id}/", headers=api(token)).status_code == 404


def test_last_use_is_noted_once_a_minute(client: TestClient, house: House, session: Session) -> None:
    row, token = factories.api_token(session, house.company, Scope.DELIVERIES_READ)
    session.commit()

    def used_at() -> datetime | None:
        assert client.get("/deliveries/", headers=api(token)).status_code == 200
        session.refresh(row)
        session.rollback()
        return row.last_used_at

    first = used_at()
    assert first is not None
    assert used_at() == first
    session.execute(
        text("UPDATE api_token SET last_used_at = last_used_at - interval '61 s' WHERE id = :i"),
        {"i": row.id},
    )
    session.commit()
    again = used_at()
    assert again is not None
    assert again > first


@pytest.mark.parametrize("person", ["operator", "driver", "customer"])
def test_only_managers_have_to_do_with_tokens(
    client: TestClient, house: House, settings: Settings, person: str
) -> None:
    headers = bearer(settings, getattr(house, person))
    assert_problem(client.get("/api-tokens/", headers=headers), 403, "Forbidden")
    body = {"name": "N", "scopes": ["fleet:read"]}
    assert_problem(client.post("/api-tokens/", json=body, headers=headers), 403, "Forbidden")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scopes", {"scopes": []}),
        ("scopes.0", {"scopes": ["people:write"]}),
        ("expires_at", {"expires_at": "2020-01-01T00:00:00Z"}),
        ("name", {"name": ""}),
        ("company_id", {"company_id": 1}),
    ],
)
def test_bad_token_request_names_its_field(
    client: TestClient, house: House, settings: Settings, field: str, change: dict[str, Any]
) -> None:
    body = {"name": "N", "scopes": ["fleet:read"]} | change
    answer = client.post("/api-tokens/", json=body, headers=bearer(settings, house.manager))
    assert_bad_field(answer, field)
