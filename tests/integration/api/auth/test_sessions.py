"""Refresh tokens that work once, and log-ins that end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from core import random_tokens
from core.accounts import access, login_sessions
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer
from tests.support.waiting import wait_until

LIFETIME = timedelta(days=30)


def log_in(client: TestClient, email: str, password: str = factories.PASSWORD) -> dict[str, Any]:
    answer = client.post("/auth/token", data={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refresh(client: TestClient, body: dict[str, Any]) -> Any:
    return client.post("/auth/refresh", json={"refresh_token": body["refresh_token"]})


def me(client: TestClient, body: dict[str, Any]) -> Any:
    answer = client.get("/me/", headers={"Authorization": f"Bearer {body['access_token']}"})
    return answer.status_code


@contextmanager
def counted(client: TestClient) -> Iterator[list[str]]:
    """The statements that the application sends meanwhile."""
    engine = cast(FastAPI, client.app).state.sessions.kw["bind"]
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def age(session: Session, seconds: int) -> None:
    """The last refresh of every session was so long ago."""
    session.execute(
        text("UPDATE login_session SET rotated_at = rotated_at - make_interval(secs => :s)"), {"s": seconds}
    )
    session.commit()


def test_each_refresh_gives_other_tokens_that_work(client: TestClient, house: House) -> None:
    bodies = [log_in(client, house.manager.email)]
    for _ in range(3):
        bodies.append(refresh(client, bodies[-1]).json())
    assert len({body["refresh_token"] for body in bodies}) == 4
    assert {me(client, body) for body in bodies} == {200}


def test_old_refresh_token_ends_the_whole_log_in(client: TestClient, house: House, session: Session) -> None:
    first = log_in(client, house.manager.email)
    other = log_in(client, house.manager.email)
    second = refresh(client, first).json()
    age(session, 11)
    assert_problem(refresh(client, first), 401, "NotAuthenticated")
    assert_problem(refresh(client, second), 401, "NotAuthenticated")
    assert [me(client, first), me(client, second), me(client, other)] == [401, 401, 200]
    assert refresh(client, other).status_code == 200
    entries = session.execute(
        text("SELECT actor_kind, subject_id FROM audit_entry WHERE action = 'user.refresh_token_reused'")
    ).all()
    assert [tuple(entry) for entry in entries] == [("nobody", str(house.manager.id))]


def test_token_two_generations_old_is_a_reuse_however_recent(client: TestClient, house: House) -> None:
    first = log_in(client, house.manager.email)
    third = refresh(client, refresh(client, first).json()).json()
    assert refresh(client, first).status_code == 401
    assert me(client, third) == 401


def test_double_submit_gives_two_tokens_of_which_the_first_used_lives(
    client: TestClient, house: House, session: Session
) -> None:
    first = log_in(client, house.manager.email)
    lost, kept = refresh(client, first).json(), refresh(client, first).json()
    newest = refresh(client, kept)
    assert newest.status_code == 200
    age(session, 11)
    assert refresh(client, lost).status_code == 401
    assert me(client, newest.json()) == 401


def test_twenty_refreshes_at_once_are_one_generation(
    client: TestClient, house: House, session: Session
) -> None:
    first = log_in(client, house.manager.email)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: refresh(client, first), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert session.scalar(text("SELECT generation FROM login_session")) == 1


def test_refresh_waits_for_a_concurrent_one_of_the_same_log_in(
    client: TestClient, house: House, session: Session, sessions: sessionmaker[Session]
) -> None:
    first = log_in(client, house.manager.email)
    now = datetime.now(UTC)
    with ThreadPoolExecutor(1) as pool, sessions() as other:
        second = login_sessions.renew(other, first["refresh_token"], LIFETIME, now)
        assert second is not None
        assert login_sessions.renew(other, second.refresh_token, LIFETIME, now) is not None
        waiting = pool.submit(refresh, client, first)
        wait_until(lambda: is_a_lock_awaited(session), what="the refresh to wait")
        other.commit()
        assert waiting.result(5).status_code == 401


def is_a_lock_awaited(session: Session) -> bool:
    session.rollback()
    waiting = "datname = current_database() AND wait_event_type = 'Lock'"
    return bool(session.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}")))


def test_log_in_waits_for_a_lock_out_under_way_and_is_refused(
    client: TestClient, house: House, session: Session, sessions: sessionmaker[Session]
) -> None:
    form = {"username": house.operator.email, "password": factories.PASSWORD}
    manager = factories.actor(house.company, house.manager)
    with ThreadPoolExecutor(1) as pool, sessions() as other:
        access.disable(other, manager, house.operator.id, datetime.now(UTC))
        other.flush()
        waiting = pool.submit(client.post, "/auth/token", data=form)
        wait_until(lambda: is_a_lock_awaited(session), what="the log-in to wait")
        other.commit()
        assert_problem(waiting.result(5), 401, "LoginRefused")


def test_what_is_no_refresh_token_or_expired_is_refused(
    client: TestClient, house: House, session: Session
) -> None:
    body = log_in(client, house.manager.email)
    for wrong in ("", "mpr_x", body["access_token"], body["refresh_token"] + "x"):
        assert_problem(refresh(client, {"refresh_token": wrong}), 401, "NotAuthenticated")
    session.execute(text("UPDATE login_session SET expires_at = now()"))
    session.commit()
    assert_problem(refresh(client, body), 401, "NotAuthenticated")


def test_log_out_ends_this_log_in_and_no_other(client: TestClient, house: House, session: Session) -> None:
    here, there = log_in(client, house.driver.email), log_in(client, house.driver.email)
    headers = {"Authorization": f"Bearer {here['access_token']}"}
    assert client.post("/auth/logout/", headers=headers).status_code == 204
    assert [me(client, here), me(client, there)] == [401, 200]
    assert refresh(client, here).status_code == 401
    assert refresh(client, there).status_code == 200
    written = session.execute(text("SELECT actor_id FROM audit_entry WHERE action = 'user.logged_out'"))
    assert written.scalars().all() == [str(house.driver.id)]


def test_log_out_everywhere_ends_every_log_in(client: TestClient, house: House) -> None:
    here, there = log_in(client, house.driver.email), log_in(client, house.driver.email)
    colleague = log_in(client, house.manager.email)
    headers = {"Authorization": f"Bearer {here['access_token']}"}
    assert client.post("/auth/logout?everywhere=true", headers=headers).status_code == 204
    assert [me(client, here), me(client, there), me(client, colleague)] == [401, 401, 200]
    assert [refresh(client, here).status_code, refresh(client, there).status_code] == [401, 401]


def test_disabled_then_enabled_person_must_log_in_again(
    client: TestClient, house: House, settings: Settings
) -> None:
    body = log_in(client, house.operator.email)
    for verb in ("disable", "enable"):
        path = f"/users/{house.operator.id}/{verb}/"
        assert client.post(path, headers=bearer(settings, house.manager)).status_code == 200
        assert refresh(client, body).status_code == 401
    assert me(client, body) == 401


def test_password_changed_by_a_manager_ends_every_log_in(
    client: TestClient, house: House, settings: Settings
) -> None:
    body = log_in(client, house.driver.email)
    path, sent = f"/users/{house.driver.id}/password/", {"password": "another password"}
    assert client.post(path, json=sent, headers=bearer(settings, house.manager)).status_code == 204
    assert [refresh(client, body).status_code, me(client, body)] == [401, 401]


def test_session_does_not_begin_for_who_was_locked_out_meanwhile(session: Session, house: House) -> None:
    now = datetime.now(UTC)
    user = house.operator
    assert login_sessions.begin(session, user.id, user.token_epoch, LIFETIME, now) is not None
    assert login_sessions.begin(session, user.id, user.token_epoch - 1, LIFETIME, now) is None
    user.disabled_at = now
    session.flush()
    assert login_sessions.begin(session, user.id, user.token_epoch, LIFETIME, now) is None


def test_one_query_authenticates_a_token_of_a_log_in(client: TestClient, house: House) -> None:
    body = log_in(client, house.manager.email)
    with counted(client) as statements:
        assert me(client, body) == 200
    # The statement that resolves the user and enters RLS is prepared, so unseen here: only the rows of /me/.
    assert len(statements) == 2, statements


def test_no_refresh_token_is_stored_and_old_rows_go(
    client: TestClient, house: House, session: Session
) -> None:
    first = log_in(client, house.manager.email)
    second = refresh(client, first).json()
    stored = session.execute(text("SELECT token_hash FROM refresh_token")).scalars().all()
    assert {bytes(one) for one in stored} == {
        random_tokens.digest(body["refresh_token"]) for body in (first, second)
    }
    assert login_sessions.purge_ended(session, datetime.now(UTC) + timedelta(days=29)) == 0
    session.execute(text("UPDATE refresh_token SET used_at = used_at - interval '2 days'"))
    assert login_sessions.purge_ended(session, datetime.now(UTC) + timedelta(days=29)) == 1
    assert login_sessions.purge_ended(session, datetime.now(UTC) + timedelta(days=31)) == 1
    assert session.scalar(text("SELECT count(*) FROM refresh_token")) == 0
