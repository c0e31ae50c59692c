"""Logging in, tokens, and every way a token may be wrong (A9)."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.auth import tokens
from core.models.people import AppUser
from core.models.record import Outbox
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer

RIGHT: dict[str, Any] = {"iss": tokens.ISSUER, "aud": tokens.AUDIENCE, "typ": "access", "epoch": 1}


def log_in(client: TestClient, email: str, password: str = factories.PASSWORD) -> Any:
    return client.post("/auth/token", data={"username": email, "password": password})


def test_log_in_gives_tokens_that_work(client: TestClient, house: House) -> None:
    answer = log_in(client, f"  {house.manager.email.upper()} ")
    assert answer.status_code == 200
    body = answer.json()
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 1800
    me = client.get("/me/", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["email"] == house.manager.email
    assert me.json()["company"]["slug"] == house.company.slug


def test_every_refused_log_in_looks_the_same(client: TestClient, house: House, session: Session) -> None:
    disabled = factories.user(session, house.company, disabled_at=datetime.now(UTC))
    session.commit()
    answers = [
        log_in(client, house.manager.email, "wrong"),
        log_in(client, "nobody@example.com"),
        log_in(client, disabled.email),
        log_in(client, "not an address"),
        log_in(client, "nul\0@example.com"),
    ]
    for answer in answers:
        assert_problem(answer, 401, "LoginRefused")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert len({answer.text for answer in answers}) == 1


def test_refresh_gives_new_tokens_and_takes_no_access_token(client: TestClient, house: House) -> None:
    body = log_in(client, house.manager.email).json()
    again = client.post("/auth/refresh", json={"refresh_token": body["refresh_token"]})
    assert again.status_code == 200
    headers = {"Authorization": f"Bearer {again.json()['access_token']}"}
    assert client.get("/me/", headers=headers).status_code == 200
    wrong = client.post("/auth/refresh", json={"refresh_token": body["access_token"]})
    assert_problem(wrong, 401, "NotAuthenticated")


def signed(claims: dict[str, Any], settings: Settings, key: str | None = None, **options: Any) -> str:
    return jwt.encode(
        claims, key or settings.jwt_key.get_secret_value(), **({"algorithm": "HS256"} | options)
    )


def times(minutes: float = 5) -> dict[str, int]:
    now = datetime.now(UTC)
    return {"iat": int(now.timestamp()), "exp": int((now + timedelta(minutes=minutes)).timestamp())}


def without_algorithm(claims: dict[str, Any], _settings: Settings) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims)
    ]
    return b".".join([*parts, b""]).decode()


def tampered(claims: dict[str, Any], settings: Settings) -> str:
    head, _, signature = signed(claims, settings).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "2"}).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


BAD: dict[str, Callable[[dict[str, Any], Settings], str]] = {
    "expired": lambda claims, settings: signed(claims | times(-1), settings),
    "no algorithm": without_algorithm,
    "other key": lambda claims, settings: signed(claims, settings, "k" * 40),
    "other algorithm": lambda claims, settings: signed(claims, settings, algorithm="HS512"),
    "wrong audience": lambda claims, settings: signed(claims | {"aud": "else"}, settings),
    "wrong issuer": lambda claims, settings: signed(claims | {"iss": "else"}, settings),
    "no exp": lambda claims, settings: signed({k: v for k, v in claims.items() if k != "exp"}, settings),
    "no iat": lambda claims, settings: signed({k: v for k, v in claims.items() if k != "iat"}, settings),
    "no epoch": lambda claims, settings: signed({k: v for k, v in claims.items() if k != "epoch"}, settings),
    "refresh token": lambda claims, settings: signed(claims | {"typ": "refresh"}, settings),
    "old epoch": lambda claims, settings: signed(claims | {"epoch": 0}, settings),
    "huge epoch": lambda claims, settings: signed(claims | {"epoch": 2**70}, settings),
    "no number": lambda claims, settings: signed(claims | {"sub": "x"}, settings),
    "huge number": lambda claims, settings: signed(claims | {"sub": str(2**70)}, settings),
    "nobody": lambda claims, settings: signed(claims | {"sub": "999999"}, settings),
    "tampered": tampered,
    "no token": lambda _claims, _settings: "x",
    "empty": lambda _claims, _settings: "",
    "too long": lambda claims, settings: signed(claims | {"x": "x" * 4000}, settings),
}


def test_every_bad_token_is_refused_with_the_same_body(
    client: TestClient, house: House, settings: Settings
) -> None:
    claims = RIGHT | times() | {"sub": str(house.manager.id)}
    good = client.get("/me/", headers={"Authorization": f"Bearer {signed(claims, settings)}"})
    assert good.status_code == 200
    answers = {
        name: client.get("/me/", headers={"Authorization": f"Bearer {make(claims, settings)}"})
        for name, make in BAD.items()
    }
    answers["no header"] = client.get("/me/")
    answers["other scheme"] = client.get("/me/", headers={"Authorization": "Basic eDp5"})
    for name, answer in answers.items():
        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"] == "Bearer", name
    assert len({answer.text for answer in answers.values()}) == 1


def test_disabled_user_is_out_at_once_and_its_old_tokens_stay_dead(
    client: TestClient, house: House, settings: Settings
) -> None:
    manager, operator = bearer(settings, house.manager), bearer(settings, house.operator)
    assert client.get("/me/", headers=operator).status_code == 200
    assert client.post(f"/users/{house.operator.id}/disable/", headers=manager).status_code == 200
    assert_problem(client.get("/me/", headers=operator), 401, "NotAuthenticated")
    assert client.post(f"/users/{house.operator.id}/enable/", headers=manager).status_code == 200
    assert_problem(client.get("/me/", headers=operator), 401, "NotAuthenticated")
    assert log_in(client, house.operator.email).status_code == 200


def test_changing_the_password_ends_every_token(client: TestClient, house: House, settings: Settings) -> None:
    driver = bearer(settings, house.driver)
    body = {"current_password": "wrong", "new_password": "a new password"}
    assert_problem(client.post("/me/password/", headers=driver, json=body), 422, "InvalidValue")
    body["current_password"] = factories.PASSWORD
    assert client.post("/me/password", headers=driver, json=body).status_code == 204
    assert_problem(client.get("/me/", headers=driver), 401, "NotAuthenticated")
    assert log_in(client, house.driver.email).status_code == 401
    assert log_in(client, house.driver.email, "a new password").status_code == 200


def test_password_hash_of_older_costs_is_renewed_at_log_in(
    client: TestClient, house: House, session: Session
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(factories.PASSWORD)
    session.execute(
        text("UPDATE app_user SET password_hash = :h WHERE id = :i"), {"h": old, "i": house.manager.id}
    )
    session.commit()
    assert log_in(client, house.manager.email).status_code == 200
    renewed = session.scalar(select(AppUser.password_hash).where(AppUser.id == house.manager.id))
    assert renewed != old
    assert log_in(client, house.manager.email).status_code == 200


@pytest.mark.parametrize("role", ["driver", "customer"])
def test_drivers_and_customers_have_no_mqtt_login(
    client: TestClient, house: House, settings: Settings, role: str
) -> None:
    headers = bearer(settings, getattr(house, role))
    assert_problem(client.get("/me/mqtt/", headers=headers), 403, "Forbidden")


def test_operator_gets_its_mqtt_login_and_a_new_secret(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.operator)
    first = client.get("/me/mqtt/", headers=headers).json()
    assert first["user_name"] == f"operator-{house.operator.id}"
    assert first["topics"] == [f"fleet/{house.company.slug}/#"]
    second = client.post("/me/mqtt/rotate", headers=headers).json()
    assert second["secret"] != first["secret"]
    rows = session.execute(select(Outbox.kind, Outbox.payload)).all()
    assert [tuple(row) for row in rows] == [("operator", {"id": house.operator.id})]
