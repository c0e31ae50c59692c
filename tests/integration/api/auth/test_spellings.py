"""Passwords, e-mails and names, typed in one normal form and in the other, through every way in."""

import unicodedata
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.accounts.sign_in import login_of
from core.models.people import AppUser
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer
from tests.support.services.processes import Processes

NFC = "Gr\u00fc\u00dfe aus K\u00f6ln"
NFD = unicodedata.normalize("NFD", NFC)
FORMS = [NFC, NFD]


def former_hash(typed: str) -> str:
    """As 0.1.0 made it: of the password as typed."""
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(typed.encode())


def log_in(client: TestClient, email: str, password: str) -> Any:
    return client.post("/auth/token", data={"username": email, "password": password})


def nfd(words: str) -> str:
    return unicodedata.normalize("NFD", words)


@pytest.mark.parametrize("chosen", FORMS)
def test_password_set_in_one_form_is_right_in_the_other(
    client: TestClient, house: House, settings: Settings, chosen: str
) -> None:
    """Made with the user, set by a manager, changed by its owner, set with a link."""
    headers, email = bearer(settings, house.manager), "new@example.com"
    person = {"email": email, "name": "New", "role": "manager", "password": chosen}
    user_id = client.post("/users/", json=person, headers=headers).json()["id"]

    def assert_in() -> dict[str, str]:
        answers = [log_in(client, email, form) for form in FORMS]
        assert [answer.status_code for answer in answers] == [200, 200]
        return {"Authorization": f"Bearer {answers[0].json()['access_token']}"}

    assert_in()
    client.post(f"/users/{user_id}/password/", json={"password": f"{chosen}2"}, headers=headers)
    assert log_in(client, email, NFC).status_code == 401
    client.post(f"/users/{user_id}/password/", json={"password": chosen}, headers=headers)
    own = {"current_password": next(form for form in FORMS if form != chosen), "new_password": chosen}
    assert client.post("/me/password/", json=own, headers=assert_in()).status_code == 204
    link = client.post(f"/users/{user_id}/reset/", headers=headers).json()["token"]
    used = client.post("/auth/set-password", json={"token": link, "password": chosen})
    assert used.status_code == 204
    assert_in()


@pytest.mark.parametrize("chosen", FORMS)
@pytest.mark.parametrize("typed", FORMS)
def test_password_of_before_still_lets_in_and_is_hashed_anew(
    client: TestClient, house: House, session: Session, chosen: str, typed: str
) -> None:
    house.manager.password_hash = before = former_hash(chosen)
    session.commit()
    token = log_in(client, house.manager.email, typed).json()["access_token"]
    session.refresh(house.manager)
    assert (house.manager.password_hash != before) is (chosen == NFD)
    assert client.get("/me/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert [log_in(client, house.manager.email, form).status_code for form in FORMS] == [200, 200]


def test_password_too_short_once_composed_is_refused(
    client: TestClient, house: House, settings: Settings
) -> None:
    body = {"password": nfd("\u00e9" * 7)}
    headers = bearer(settings, house.manager)
    assert_bad_field(
        client.post(f"/users/{house.driver.id}/password/", json=body, headers=headers), "password"
    )


def test_email_of_before_is_found_as_typed_and_composed(
    client: TestClient, house: House, session: Session
) -> None:
    house.manager.email = nfd("jos\u00e9@example.com")
    session.commit()
    for typed in ("jos\u00e9@example.com", nfd("JOS\u00c9@example.com")):
        assert log_in(client, typed, factories.PASSWORD).status_code == 200
        assert client.post("/auth/reset", json={"email": typed}).status_code == 202
    count = "SELECT count(*) FROM user_link WHERE user_id = :id"
    assert session.scalar(text(count), {"id": house.manager.id}) == 1


def test_email_is_in_use_in_any_form_and_any_company(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    other = factories.user(session, factories.company(session), email=nfd("jos\u00e9@example.com"))
    session.commit()
    headers = bearer(settings, house.manager)
    person = {"name": "X", "role": "manager", "password": "long enough"}
    for typed in ("jos\u00e9@example.com", other.email):
        answer = client.post("/users/", json=person | {"email": typed}, headers=headers)
        assert_problem(answer, 409, "Conflict")
        edited = client.patch(f"/users/{house.driver.id}/", json={"email": typed}, headers=headers)
        assert_problem(edited, 409, "Conflict")
    assert client.get("/me/", headers=headers).json()["email"] == house.manager.email


def test_two_emails_of_before_that_look_the_same_stay_two_people(house: House, session: Session) -> None:
    typed = {"composed": "jos\u00e9@example.com", "decomposed": nfd("jos\u00e9@example.com")}
    ids = {name: factories.user(session, house.company, email=email).id for name, email in typed.items()}
    for name, email in typed.items():
        found = login_of(session, email.upper())
        assert found is not None
        assert found.user_id == ids[name]


def test_forms_of_one_email_share_their_failures(client: TestClient, house: House) -> None:
    answers = [log_in(client, email, "wrong") for email in ("\u00e9@example.com", "e\u0301@example.com") * 6]
    assert [answer.status_code for answer in answers] == [*[401] * 10, 429, 429]


def test_names_are_stored_composed(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    typed = nfd("Zo\u00eb \u017delj\u00f3")
    bodies: dict[str, dict[str, Any]] = {
        "customers": {"name": typed, "address": typed, "email": nfd("\u00e9@example.com")},
        "drivers": {"name": typed, "licence_number": typed},
        "vehicles": {"name": typed, "plate": typed},
        "devices": {"label": typed},
        "load-orders": {"reference": typed, "items": [{"description": typed}]},
    }
    for noun, body in bodies.items():
        made = client.post(f"/{noun}/", json=body, headers=headers)
        assert made.status_code == 201, made.text
        again = client.get(f"/{noun}/{made.json()['id']}/", headers=headers).text
        assert "\u0308" not in again
        assert unicodedata.normalize("NFC", typed) in again
    reason = {"status": "failed", "reason": nfd("T\u00fcr zu")}
    path = f"/deliveries/{house.delivery.id}/status/"
    reported = client.post(path, json=reason, headers=bearer(settings, house.driver)).json()
    assert reported["checkpoint"]["reason"] == "T\u00fcr zu"


def test_proof_is_stored_composed_and_known_as_sent(
    client: TestClient, house: House, settings: Settings
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/proofs/", bearer(settings, house.driver)
    form = [("recipient_name", (None, nfd("Ren\u00e9e"))), ("note", (None, nfd("T\u00fcr")))]
    first, again = (client.post(path, files=form, headers=headers).json() for _ in range(2))
    assert (first["recipient_name"], first["note"]) == ("Ren\u00e9e", "T\u00fcr")
    assert again["id"] == first["id"]


def test_command_line_takes_either_form(
    processes: Processes, settings: Settings, house: House, session: Session, client: TestClient
) -> None:
    email, name = nfd("zo\u00eb@example.com"), nfd("Zo\u00eb \u017d")
    arguments = ("user", "add", email, "--company", house.company.slug, "--role", "manager", "--name", name)
    process = processes.start(*arguments, MILEPOST_PASSWORD=NFD)
    assert process.wait(60) == 0, process.output()
    user = session.scalars(select(AppUser).where(AppUser.name == "Zo\u00eb \u017d")).one()
    assert user.email == "zo\u00eb@example.com"
    assert log_in(client, "zo\u00eb@example.com", NFC).status_code == 200
