"""Inviting people, and links to set a password."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core import random_tokens
from core.accounts import links
from core.rules.enums import Role
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer

NEW_PASSWORD = "a password of my own"
PERSON = {"email": "New@Example.com", "name": "Nora New", "role": "operator"}


def invite(client: TestClient, settings: Settings, house: House, **changes: Any) -> Any:
    return client.post("/invitations/", json=PERSON | changes, headers=bearer(settings, house.manager))


def use(client: TestClient, token: str, password: str = NEW_PASSWORD) -> Any:
    return client.post("/auth/set-password/", json={"token": token, "password": password})


def log_in(client: TestClient, email: str, password: str = NEW_PASSWORD) -> Any:
    return client.post("/auth/token", data={"username": email, "password": password}).status_code


def reset_link(client: TestClient, settings: Settings, house: House) -> str:
    path = f"/users/{house.driver.id}/reset/"
    token: str = client.post(path, headers=bearer(settings, house.manager)).json()["token"]
    return token


def test_invited_person_sets_a_password_once_and_logs_in(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    answer = invite(client, settings, house)
    assert answer.status_code == 201
    body = answer.json()
    assert body["user"]["invited"] is True
    assert body["user"]["email"] == "new@example.com"
    days_left = datetime.fromisoformat(body["link"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < days_left <= timedelta(days=7)
    token = body["link"]["token"]
    stored = session.scalar(text("SELECT token_hash FROM user_link"))
    assert bytes(stored) == random_tokens.digest(token)
    assert log_in(client, PERSON["email"]) == 401
    assert use(client, token).status_code == 204
    assert log_in(client, PERSON["email"]) == 200
    assert_bad_field(use(client, token), "token")
    user = client.get(f"/users/{body['user']['id']}/", headers=bearer(settings, house.manager)).json()
    assert user["invited"] is False


def test_every_unusable_link_answers_the_same(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    tokens = [invite(client, settings, house, email=f"n{n}@example.com").json() for n in range(3)]
    expired, disabled, used = (one["link"]["token"] for one in tokens)
    session.execute(
        text("UPDATE user_link SET expires_at = now() WHERE user_id = :u"), {"u": tokens[0]["user"]["id"]}
    )
    session.commit()
    path = f"/users/{tokens[1]['user']['id']}/disable/"
    assert client.post(path, headers=bearer(settings, house.manager)).status_code == 200
    assert use(client, used).status_code == 204
    answers = [use(client, token) for token in (expired, disabled, used, "mpl_unknown", "")]
    for answer in answers:
        assert_bad_field(answer, "token")
    assert len({answer.text for answer in answers}) == 1


def test_invited_again_the_first_link_ends(client: TestClient, house: House, settings: Settings) -> None:
    first = invite(client, settings, house).json()
    path = f"/invitations/{first['user']['id']}/renew/"
    second = client.post(path, headers=bearer(settings, house.manager)).json()
    assert_bad_field(use(client, first["link"]["token"]), "token")
    assert use(client, second["link"]["token"]).status_code == 204
    again = client.post(path, headers=bearer(settings, house.manager))
    assert_problem(again, 409, "Conflict")


def test_withdrawn_invitation_frees_the_email_and_the_driver(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    driver = factories.driver(session, house.company)
    session.commit()
    person = {"role": "driver", "driver_id": driver.id}
    first = invite(client, settings, house, **person).json()
    assert invite(client, settings, house, **person).status_code == 409
    path = f"/invitations/{first['user']['id']}/"
    assert client.delete(path, headers=bearer(settings, house.manager)).status_code == 204
    assert_bad_field(use(client, first["link"]["token"]), "token")
    assert invite(client, settings, house, **person).status_code == 201
    joined = f"/invitations/{house.operator.id}/"
    assert_problem(client.delete(joined, headers=bearer(settings, house.manager)), 409, "Conflict")


@pytest.mark.parametrize("person", ["operator", "driver", "customer"])
def test_only_managers_invite(client: TestClient, house: House, settings: Settings, person: str) -> None:
    headers = bearer(settings, getattr(house, person))
    assert_problem(client.post("/invitations/", json=PERSON, headers=headers), 403, "Forbidden")


def test_invited_manager_is_not_the_manager_who_must_stay(
    client: TestClient, house: House, settings: Settings
) -> None:
    assert invite(client, settings, house, role="manager").status_code == 201
    path = f"/users/{house.manager.id}/disable/"
    assert_problem(client.post(path, headers=bearer(settings, house.manager)), 409, "Conflict")


def test_reset_link_works_once_and_ends_every_token(
    client: TestClient, house: House, settings: Settings
) -> None:
    token, before = reset_link(client, settings, house), bearer(settings, house.driver)
    assert client.get("/me/", headers=before).status_code == 200
    assert use(client, token).status_code == 204
    assert client.get("/me/", headers=before).status_code == 401
    assert log_in(client, house.driver.email, factories.PASSWORD) == 401
    assert log_in(client, house.driver.email) == 200
    assert_bad_field(use(client, token), "token")


def test_link_used_ten_times_at_once_works_once(client: TestClient, house: House, settings: Settings) -> None:
    token = reset_link(client, settings, house)
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda n: use(client, token, f"password {n}").status_code, range(10)))
    assert sorted(statuses) == [204] + [422] * 9


@pytest.mark.parametrize("change", ["email", "password", "newer link"])
def test_reset_link_ends_when_what_it_was_for_changes(
    client: TestClient, house: House, settings: Settings, change: str
) -> None:
    token, headers = reset_link(client, settings, house), bearer(settings, house.manager)
    path = f"/users/{house.driver.id}/"
    if change == "email":
        assert client.patch(path, json={"email": "else@example.com"}, headers=headers).status_code == 200
    elif change == "password":
        body = {"password": "set by a manager"}
        assert client.post(f"{path}password/", json=body, headers=headers).status_code == 204
    else:
        reset_link(client, settings, house)
    assert_bad_field(use(client, token), "token")


def test_weak_password_is_named_and_leaves_the_link(
    client: TestClient, house: House, settings: Settings
) -> None:
    token = reset_link(client, settings, house)
    assert_bad_field(use(client, token, "short"), "password")
    assert use(client, token).status_code == 204


def test_asking_for_a_reset_answers_the_same_for_any_address(
    client: TestClient, house: House, session: Session
) -> None:
    disabled = factories.user(session, house.company, Role.OPERATOR, disabled_at=datetime.now(UTC))
    session.commit()
    answers = [
        client.post("/auth/reset", json={"email": email})
        for email in (house.driver.email, "nobody@example.com", disabled.email)
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert client.post("/auth/reset", json={"email": "no address"}).status_code == 422
    owed = session.execute(text("SELECT user_id, token_hash FROM user_link")).all()
    assert [tuple(row) for row in owed] == [(house.driver.id, None)]


def test_owed_link_is_handed_to_one_sender_and_works(
    client: TestClient, house: House, session: Session, sessions: Any
) -> None:
    for _ in range(5):
        assert client.post("/auth/reset", json={"email": house.driver.email}).status_code == 202
    now = datetime.now(UTC)
    with sessions() as other:
        (owed,) = links.take_owed(session, now)
        assert links.take_owed(other, now) == []
    session.commit()
    assert (owed.user_id, owed.email) == (house.driver.id, house.driver.email)
    assert links.take_owed(session, now) == []
    assert use(client, owed.link.token).status_code == 204
    assert log_in(client, house.driver.email) == 200


def test_asking_for_a_reset_leaves_what_a_manager_handed_out(
    client: TestClient, house: House, settings: Settings
) -> None:
    token = reset_link(client, settings, house)
    assert client.post("/auth/reset", json={"email": house.driver.email}).status_code == 202
    assert use(client, token).status_code == 204


def test_old_links_are_deleted(session: Session, house: House) -> None:
    now = datetime.now(UTC)
    links.make(session, house.driver, links.LinkKind.RESET, now)
    session.flush()
    assert links.purge_ended(session, now + timedelta(days=30)) == 0
    assert links.purge_ended(session, now + timedelta(days=32)) == 1
