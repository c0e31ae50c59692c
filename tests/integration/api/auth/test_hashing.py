"""Few password hashes run at once, and waiting requests do not delay others."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.app import THREADS
from api.auth.hashing import Hashing
from core.accounts import invitations
from core.settings import Settings
from tests.integration.api.auth.test_throttle import log_in
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer, running
from tests.support.waiting import wait_until

CROWD = THREADS + 4  # more than there are threads, or connections
NEW = {"password": "a new password"}
Send = Callable[[int], Any]


def state(client: TestClient) -> Any:
    return client.app.state  # type: ignore[attr-defined]


@contextmanager
def no_free_hash(client: TestClient) -> Iterator[None]:
    """All threads that hash are taken: whoever needs one waits."""
    limiter, holders = state(client).hashing.limiter, []
    assert client.portal is not None
    while limiter.available_tokens:
        holders.append(object())
        client.portal.call(limiter.acquire_on_behalf_of_nowait, holders[-1])
    try:
        yield
    finally:
        for holder in holders:
            client.portal.call(limiter.release_on_behalf_of, holder)


def assert_others_are_served(client: TestClient, headers: dict[str, str], send: Send) -> set[int]:
    """While a crowd waits for its hashes; gives the crowd's answers."""
    hashing, pool = state(client).hashing, state(client).sessions.kw["bind"].pool
    with ThreadPoolExecutor(CROWD + 1) as threads:
        with no_free_hash(client):
            crowd = [threads.submit(send, n) for n in range(CROWD)]
            wait_until(lambda: hashing.limiter.statistics().tasks_waiting == CROWD)
            assert pool.checkedout() == 0
            other = threads.submit(client.get, "/me/", headers=headers)
            assert other.result(timeout=20).status_code == 200
        return {one.result(timeout=60).status_code for one in crowd}


def test_crowd_that_logs_in_takes_neither_threads_nor_connections(
    client: TestClient, house: House, session: Session, settings: Settings
) -> None:
    people = [factories.user(session, house.company) for _ in range(CROWD)]
    session.commit()
    emails = [person.email for person in people]
    answers = assert_others_are_served(
        client, bearer(settings, house.manager), lambda n: log_in(client, emails[n], factories.PASSWORD)
    )
    assert answers == {200}


def test_crowd_that_sets_passwords_takes_neither(
    client: TestClient, house: House, session: Session, settings: Settings
) -> None:
    headers = bearer(settings, house.manager)
    own = [
        bearer(settings, factories.user(session, house.company)) | {"Idempotency-Key": f"k{n}"}
        for n in range(CROWD)
    ]
    manager, driver = factories.actor(house.company, house.manager), house.driver.id
    links = [invitations.make_reset_link(session, manager, driver, house.company.created_at)]
    session.commit()
    token = links[0].token

    def send(n: int) -> Any:
        match n % 4:
            case 0:
                person = {"email": f"new{n}@example.com", "name": "New", "role": "operator"} | NEW
                return client.post("/users/", json=person, headers=headers | {"Idempotency-Key": f"n{n}"})
            case 1:
                return client.post(f"/users/{house.operator.id}/password/", json=NEW, headers=headers)
            case 2:
                body = {"current_password": factories.PASSWORD, "new_password": NEW["password"]}
                return client.post("/me/password/", json=body, headers=own[n])
            case _:
                return client.post("/auth/set-password", json=NEW | {"token": token})

    # A link works once: its other uses are refused.
    assert assert_others_are_served(client, headers, send) == {201, 204, 422}


def test_too_many_who_wait_are_sent_away_uncounted(
    settings: Settings, house: House, session: Session
) -> None:
    with running(settings) as client, ThreadPoolExecutor(1) as threads:
        hashing = state(client).hashing = Hashing(threads=1, slots=1)
        with no_free_hash(client):
            first = threads.submit(log_in, client, house.manager.email, factories.PASSWORD)
            wait_until(lambda: hashing.limiter.statistics().tasks_waiting == 1)
            for _ in range(11):
                answer = log_in(client, house.driver.email, factories.PASSWORD)
                assert_problem(answer, 503, "TooManyHashes")
                assert answer.headers["retry-after"] == "5"
        assert first.result(timeout=20).status_code == 200
        assert log_in(client, house.driver.email, factories.PASSWORD).status_code == 200


def test_unauthorised_requests_cause_no_hashing(client: TestClient, house: House, settings: Settings) -> None:
    unknown = {"Authorization": "Bearer mp_nobody"}
    with no_free_hash(client):
        refused = client.post(f"/users/{house.operator.id}/password/", json=NEW, headers=unknown)
        assert_problem(refused, 401, "NotAuthenticated")


@pytest.mark.parametrize("has_key", [False, True])
def test_wrong_own_passwords_count_despite_an_idempotency_key(
    client: TestClient, house: House, settings: Settings, has_key: bool
) -> None:
    headers = bearer(settings, house.driver)
    body = {"current_password": "wrong", "new_password": NEW["password"]}
    for n in range(11):
        key = {"Idempotency-Key": f"guess{n}"} if has_key else {}
        answer = client.post("/me/password/", json=body, headers=headers | key)
    assert_problem(answer, 429, "TooManyAttempts")
