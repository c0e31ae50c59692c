"""Edits that name the version they mean, and requests that are done once however often they are sent."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.live import Live
from core.database.engine import LOCK_TIMEOUT_S
from core.deliveries import status_changes
from core.models.record import Outbox
from core.records import idempotency
from core.rules.enums import Status
from core.settings import Settings
from tests.integration.api.deliveries.test_deliveries import new_delivery, status_checkpoints
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

KEY = {"Idempotency-Key": "k-1"}
REPLAYED = "idempotency-replayed"


def count(session: Session, table: str) -> int:
    session.rollback()
    return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_every_edit_and_status_change_has_a_new_tag(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, path = bearer(settings, house.manager), f"/deliveries/{house.delivery.id}"
    tags = [
        client.get(path, headers=headers),
        client.patch(path, json={"reference": "R"}, headers=headers),
        client.patch(path, json={"vehicle_id": None}, headers=headers),
        client.put(path, json=new_delivery(house), headers=headers),
        client.post(f"{path}/status", json={"status": "failed", "reason": "x"}, headers=headers),
        client.get(path, headers=headers),
    ]
    for answer in tags:
        assert answer.headers["content-length"] == str(len(answer.content))
    assert [answer.headers["etag"] for answer in tags] == ['"1"', '"2"', '"3"', '"4"', '"5"', '"5"']


def test_positions_and_checkpoints_leave_the_version_alone(
    client: TestClient, settings: Settings, session: Session
) -> None:
    house = furnish(session, Status.IN_TRANSIT)
    headers, path = bearer(settings, house.driver), f"/deliveries/{house.delivery.id}"
    fix = {"latitude": 52.5, "longitude": 13.4}
    assert client.post(f"{path}/location", json=fix, headers=headers).status_code == 201
    assert len(client.get(f"{path}/checkpoints", headers=headers).json()["items"]) == 2
    assert client.get(path, headers=headers).headers["etag"] == '"1"'


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"1"', 200),
        ("*", 200),
        ('"7", "1"', 200),
        ('"2"', 412),
        ('W/"1"', 412),
        ('"one"', 412),
        ('""', 412),
        ("1", 422),
        ('"1', 422),
        ("", 422),
    ],
)
def test_if_match_guards_edits_and_status(
    client: TestClient, house: House, settings: Settings, if_match: str, status: int
) -> None:
    path = f"/deliveries/{house.delivery.id}/"
    headers = bearer(settings, house.manager) | {"If-Match": if_match}
    calls: list[Callable[[], httpx.Response]] = [
        lambda: client.patch(path, json={"reference": "R"}, headers=headers),
        lambda: client.put(path, json=new_delivery(house), headers=headers),
        lambda: client.post(f"{path}status/", json={"status": "failed", "reason": "x"}, headers=headers),
    ]
    for call in calls if status != 200 else calls[:1]:
        answer = call()
        assert answer.status_code == status, answer.text
        if status == 412:
            assert_problem(answer, 412, "PreconditionFailed")
            assert answer.json()["version"] == 1
        if status == 422:
            assert_bad_field(answer, "If-Match")


def test_foreign_delivery_is_missing_whatever_the_version(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = furnish(session)
    headers = bearer(settings, stranger.manager) | {"If-Match": '"9"'}
    answer = client.patch(f"/deliveries/{house.delivery.id}/", json={"reference": "R"}, headers=headers)
    assert_problem(answer, 404, "NotFound")


def test_of_two_edits_of_one_version_at_once_one_wins(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.manager) | {"If-Match": '"1"'}

    def edit(reference: str) -> int:
        body = {"reference": reference}
        answer: httpx.Response = client.patch(f"/deliveries/{house.delivery.id}", json=body, headers=headers)
        return answer.status_code

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(edit, ["A", "B"])) == [200, 412]


def test_repeated_status_with_the_first_tag_is_still_unchanged(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.driver) | {"If-Match": '"1"'}
    path, body = f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}
    answers = [client.post(path, json=body, headers=headers) for _ in range(2)]
    assert [answer.json()["result"] for answer in answers] == ["changed", "unchanged"]


def test_same_key_and_fields_get_the_same_answer(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager) | KEY
    body = new_delivery(house, items=[{"description": "Crate"}])
    first = client.post("/deliveries/", json=body, headers=headers)
    # Another order of the fields, another spelling of the path, a default spelled out: the same request.
    again = client.post(
        "/deliveries", json=dict(reversed((body | {"driver_id": None}).items())), headers=headers
    )
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert count(session, "delivery") == 2
    assert count(session, "load_order") == 2
    other = client.post("/deliveries/", json=body, headers=headers | {"Idempotency-Key": "k-2"})
    assert other.json()["id"] != first.json()["id"]


def test_same_key_with_other_fields_is_refused(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager) | KEY
    assert client.post("/deliveries/", json=new_delivery(house), headers=headers).status_code == 201
    body = new_delivery(house, reference="ORDER-2")
    assert_problem(client.post("/deliveries/", json=body, headers=headers), 422, "KeyReused")
    assert count(session, "delivery") == 2


def test_a_key_belongs_to_one_person_and_one_route(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    colleague = factories.user(session, house.company)
    session.commit()
    body = new_delivery(house)
    made = {
        client.post("/deliveries/", json=body, headers=bearer(settings, user) | KEY).json()["id"]
        for user in (house.manager, colleague)
    }
    assert len(made) == 2
    answer = client.post("/vehicles/", json={"name": "Van"}, headers=bearer(settings, house.manager) | KEY)
    assert answer.status_code == 201
    status = {"status": "failed", "reason": "x"}
    headers = bearer(settings, house.manager) | KEY
    first, second = made
    assert client.post(f"/deliveries/{first}/status", json=status, headers=headers).status_code == 200
    assert_problem(
        client.post(f"/deliveries/{second}/status", json=status, headers=headers), 422, "KeyReused"
    )


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "tab\t", "ü", "☃"])
def test_bad_key_is_named(client: TestClient, house: House, settings: Settings, key: str) -> None:
    headers = {"Idempotency-Key": key.encode(), **bearer(settings, house.manager)}
    answer = client.post("/vehicles/", json={"name": "Van"}, headers=headers)
    assert_problem(answer, 422, "InvalidValue")
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


def test_a_refused_request_leaves_its_key_unused(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager) | KEY
    wrong = new_delivery(house, customer_id=2**31 - 1)
    for _ in range(2):
        answer = client.post("/deliveries/", json=wrong, headers=headers)
        assert_bad_field(answer, "customer_id")
        assert REPLAYED not in answer.headers
    assert count(session, "idempotency") == 0
    assert client.post("/deliveries/", json=new_delivery(house), headers=headers).status_code == 201


def test_an_answer_without_a_body_is_replayed_too(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, path = bearer(settings, house.manager) | KEY, f"/users/{house.operator.id}/password/"
    answers = [client.post(path, json={"password": "a new passphrase"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 204]
    assert [answer.headers.get(REPLAYED) for answer in answers] == [None, "true"]


def test_an_answer_with_a_secret_is_not_kept(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers, path = bearer(settings, house.manager) | KEY, f"/devices/{house.device.id}/rotate/"
    first = client.post(path, headers=headers)
    assert first.headers["cache-control"] == "no-store"
    assert_problem(client.post(path, headers=headers), 409, "Conflict")
    session.rollback()
    assert session.execute(text("SELECT body FROM idempotency")).scalar_one() is None
    assert session.execute(text("SELECT secret_version FROM device")).scalar_one() == 2


def test_a_key_is_free_again_after_a_day(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager) | KEY

    def name() -> Any:
        return client.post("/vehicles/", json={"name": "Van"}, headers=headers).json()["id"]

    first = name()
    session.execute(text("UPDATE idempotency SET created_at = created_at - interval '24 hours 1 second'"))
    session.commit()
    assert (second := name()) != first
    assert name() == second
    later = datetime.now(UTC) + timedelta(hours=25)
    assert idempotency.purge_old_responses(session, datetime.now(UTC)) == 0
    assert idempotency.purge_old_responses(session, later) == 1


def test_of_many_twins_at_once_one_works_and_the_others_get_its_answer(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers, body = bearer(settings, house.manager) | KEY, new_delivery(house)

    def post(_: int) -> Any:
        return client.post("/deliveries/", json=body, headers=headers)

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(post, range(24)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert count(session, "delivery") == 2


def test_a_twin_in_another_process_waits_for_the_first_one_s_end(
    client: TestClient, house: House, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    """The other process is a transaction of the test's, which holds the key."""
    headers, body = bearer(settings, house.manager) | KEY, new_delivery(house)
    actor = factories.actor(house.company, house.manager)
    request = idempotency.Request("POST /deliveries/", "k-1", b"x" * 32)
    with sessions() as other:
        assert idempotency.claim(other, actor, request, datetime.now(UTC)) is None
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(client.post, "/deliveries/", json=body, headers=headers)
            _until_blocked(sessions)
            other.rollback()
            assert waiting.result(timeout=LOCK_TIMEOUT_S).status_code == 201


def test_a_twin_that_waits_too_long_conflicts(
    client: TestClient, house: House, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    headers, body = bearer(settings, house.manager) | KEY, new_delivery(house)
    actor = factories.actor(house.company, house.manager)
    request = idempotency.Request("POST /deliveries/", "k-1", b"x" * 32)
    with sessions() as other:
        idempotency.claim(other, actor, request, datetime.now(UTC))
        assert_problem(client.post("/deliveries/", json=body, headers=headers), 409, "StillUnderWay")


def _until_blocked(sessions: sessionmaker[Session]) -> None:
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    with sessions() as session:
        while not session.execute(text(blocked)).scalar_one():
            session.rollback()


def test_a_location_with_a_key_is_sent_once_after_its_commit(
    client: TestClient, settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = furnish(session, Status.IN_TRANSIT)
    seen: list[int] = []
    monkeypatch.setattr(Live, "publish", lambda *_: seen.append(count(session, "position")))
    path, headers = f"/deliveries/{house.delivery.id}/location/", bearer(settings, house.driver) | KEY
    fix = {"latitude": 52.5, "longitude": 13.4}
    answers = [client.post(path, json=fix, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert seen == [1]


@pytest.mark.parametrize("keys", [("a", "a"), ("a", "b")])
def test_a_double_click_is_one_checkpoint_and_one_event(
    client: TestClient, house: House, settings: Settings, session: Session, keys: tuple[str, str]
) -> None:
    path, body = f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}
    both = threading.Barrier(2)

    def click(key: str) -> Any:
        both.wait()
        return client.post(path, json=body, headers=bearer(settings, house.driver) | {"Idempotency-Key": key})

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(click, keys))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.json()["checkpoint"]["id"] for answer in answers}) == 1
    assert status_checkpoints(session, house.delivery.id) == 2
    assert session.scalars(select(Outbox.kind)).all() == ["status"]


def test_a_reassignment_waits_for_a_concurrent_status_change(
    client: TestClient, house: House, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    """The status change is held open in a transaction of the test's while a manager re-assigns."""
    driver = factories.actor(house.company, house.driver)
    with sessions() as session:
        van = factories.vehicle(session, house.company)
        session.commit()
    path, headers = f"/deliveries/{house.delivery.id}", bearer(settings, house.manager)
    with sessions() as session:
        request = status_changes.StatusRequest(status=Status.PICKUP_IN_PROGRESS)
        status_changes.change_status(session, driver, house.delivery.id, request, datetime.now(UTC))
        with ThreadPoolExecutor(1) as thread:
            reassigned = thread.submit(client.patch, path, json={"vehicle_id": van.id}, headers=headers)
            _until_blocked(sessions)
            session.commit()
            answer = reassigned.result(timeout=LOCK_TIMEOUT_S)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"3"')
    record = client.get(f"{path}/checkpoints", headers=headers).json()["items"]
    assert [(one["kind"], one["status"], one["vehicle_id"]) for one in record] == [
        ("status", "pending", house.vehicle.id),
        ("status", "pickup_in_progress", house.vehicle.id),
        ("assignment", "pickup_in_progress", van.id),
    ]
    with sessions() as session:
        facts = session.scalars(select(Outbox.payload).order_by(Outbox.id)).all()
    assert [(fact["status"], fact["vehicle"]) for fact in facts] == [
        ("pickup_in_progress", house.vehicle.id),
        ("pickup_in_progress", van.id),
    ]


def test_every_post_of_a_person_takes_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    without = {
        path
        for path, operations in document["paths"].items()
        if "post" in operations
        and "Idempotency-Key" not in {p["name"] for p in operations["post"].get("parameters", ())}
    }
    assert without == {path for path in document["paths"] if path.startswith("/auth/")}
