"""Log-in throttling: in PostgreSQL, so over all workers, and the same for who exists and who does not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.accounts import throttle
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer, running

WINDOW_S = 15 * 60


@pytest.fixture
def other_worker(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


def log_in(client: TestClient, email: str, password: str = "wrong") -> Any:
    return client.post("/auth/token", data={"username": email, "password": password})


def pass_time(session: Session, seconds: int) -> None:
    session.execute(
        text("UPDATE login_attempt SET window_started_at = window_started_at - make_interval(secs => :s)"),
        {"s": seconds},
    )
    session.commit()


@pytest.mark.parametrize("known", [True, False])
def test_ten_failures_over_two_workers_then_429(
    client: TestClient, other_worker: TestClient, house: House, known: bool
) -> None:
    email = house.driver.email if known else "nobody@example.com"
    for n in range(10):
        worker = client if n % 2 else other_worker
        assert_problem(log_in(worker, email.upper() if n % 3 else f" {email}"), 401, "LoginRefused")
    for worker in (client, other_worker):
        # The right password too: 429 must not tell which guess was right.
        answer = log_in(worker, email, factories.PASSWORD)
        assert_problem(answer, 429, "TooManyAttempts")
        assert WINDOW_S - 60 < int(answer.headers["retry-after"]) <= WINDOW_S + 1


def test_429_does_not_reveal_who_exists(client: TestClient, house: House) -> None:
    texts = set()
    for email in (house.driver.email, "nobody@example.com"):
        for _ in range(10):
            log_in(client, email)
        body = log_in(client, email).json()
        body.pop("retry_after_s")
        texts.add(str(body))
    assert len(texts) == 1


def test_window_passes_however_often_it_was_tried(client: TestClient, house: House, session: Session) -> None:
    for _ in range(15):
        log_in(client, house.driver.email)
    pass_time(session, WINDOW_S - 5)
    answer = log_in(client, house.driver.email)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) <= 6
    pass_time(session, 5)
    assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 200


def test_success_starts_the_email_anew(client: TestClient, house: House) -> None:
    for _ in range(3):
        for _ in range(9):
            assert log_in(client, house.driver.email).status_code == 401
        assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 200


def test_others_log_in_while_one_is_blocked(client: TestClient, house: House) -> None:
    for _ in range(11):
        log_in(client, house.driver.email)
    assert log_in(client, house.manager.email, factories.PASSWORD).status_code == 200


def test_fifty_guesses_at_once_over_two_workers_check_ten_passwords(
    client: TestClient, other_worker: TestClient, house: House
) -> None:
    workers = [client, other_worker] * 25
    with ThreadPoolExecutor(16) as pool:
        statuses = [
            answer.status_code for answer in pool.map(lambda w: log_in(w, house.driver.email), workers)
        ]
    assert (statuses.count(401), statuses.count(429)) == (10, 40)


def test_an_address_is_limited_over_all_emails_and_forwarded_headers(
    settings: Settings, house: House
) -> None:
    few = settings.model_copy(update={"login_failures_per_address": 5})
    with running(few) as client:
        for n in range(5):
            headers = {"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}"}
            form = {"username": f"n{n}@example.com", "password": "wrong"}
            assert client.post("/auth/token", data=form, headers=headers).status_code == 401
        assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 429


def test_a_blocked_address_adds_no_rows_for_new_emails(
    settings: Settings, house: House, session: Session
) -> None:
    with running(settings.model_copy(update={"login_failures_per_address": 3})) as client:
        for number in range(10):
            log_in(client, f"stranger{number}@example.com")
            client.post("/auth/reset", json={"email": f"stranger{number}@example.com"})
    # For log-ins and for resets: the address, and an e-mail per attempt that was allowed.
    assert session.scalar(text("SELECT count(*) FROM login_attempt")) == 2 * (1 + 3)


def test_log_ins_that_succeed_do_not_use_up_the_address(settings: Settings, house: House) -> None:
    few = settings.model_copy(update={"login_failures_per_address": 2})
    with running(few) as client:
        for _ in range(5):
            assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 200


def test_address_limit_of_0_is_none(settings: Settings, house: House) -> None:
    with running(settings.model_copy(update={"login_failures_per_address": 0})) as client:
        for n in range(12):
            assert log_in(client, f"n{n}@example.com").status_code == 401


def test_guessing_the_own_password_counts_as_failed_log_ins(
    client: TestClient, house: House, settings: Settings
) -> None:
    body = {"current_password": "wrong", "new_password": "a new password"}
    headers = bearer(settings, house.driver)
    for _ in range(10):
        assert client.post("/me/password/", json=body, headers=headers).status_code == 422
    body["current_password"] = factories.PASSWORD
    assert_problem(client.post("/me/password/", json=body, headers=headers), 429, "TooManyAttempts")
    assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 429


def test_asking_for_resets_is_limited_in_silence(client: TestClient, house: House, session: Session) -> None:
    for _ in range(6):
        assert client.post("/auth/reset", json={"email": house.driver.email}).status_code == 202
        # As a sender would, so that the next one could be owed.
        session.execute(text("UPDATE user_link SET token_hash = sha256(id::text::bytea), send_at = NULL"))
        session.commit()
    assert session.scalar(text("SELECT count(*) FROM user_link")) == throttle.RESETS_PER_EMAIL


def test_passed_windows_are_purged_and_keys_reveal_no_email(
    client: TestClient, house: House, session: Session
) -> None:
    log_in(client, house.driver.email)
    rows = session.execute(text("SELECT * FROM login_attempt")).all()
    assert house.driver.email not in str(rows)
    now = datetime.now(UTC)
    assert throttle.purge_old_attempts(session, now + timedelta(minutes=14)) == 0
    assert throttle.purge_old_attempts(session, now + timedelta(minutes=15)) == len(rows) == 2
