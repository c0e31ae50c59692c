"""Requests made to cost the event loop much, at a real api process and mostly without a token."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy.orm import Session

from core.database.engine import make_engine, make_sessions
from core.settings import Settings
from tests.support.api_client import House, assert_problem, bearer, furnish
from tests.support.services.choice import Services
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases
from tests.support.services.processes import Processes
from tests.support.services.settings import make_settings

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
AUTH = ("/auth/refresh", "/auth/reset", "/auth/set-password")


@pytest.fixture(scope="module")
def settings(services: Services, databases: Databases) -> Iterator[Settings]:
    """Of a database and a broker that all tests here share: what they send is refused and leaves nothing."""
    with databases.fresh() as url, services.mosquitto() as server:
        broker = Broker(server)
        with _session(url) as session:
            broker.write(session)
        broker.start()
        yield make_settings(url, broker.url, broker.mqtt_key)


@pytest.fixture(scope="module")
def house(settings: Settings) -> House:
    with _session(settings.database_url.get_secret_value()) as session:
        return furnish(session)


@contextmanager
def _session(url: str) -> Iterator[Session]:
    engine = make_engine(make_settings(url), process="test")
    with make_sessions(engine)() as session:
        yield session
    engine.dispose()


@pytest.fixture(scope="module")
def api(house: House, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    processes = Processes(settings, tmp_path_factory.mktemp("api"))
    processes.start("api").wait_for("Uvicorn running")
    url = f"http://{settings.http_host}:{settings.http_port}"
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client
    processes.end_all()


def unknown_keys(size: int) -> bytes:
    """As many keys that no route knows as fit."""
    return b"{" + b",".join(b'"%x":0' % number for number in range(size // 9)) + b"}"


def assert_counted(answer: httpx.Response) -> None:
    """Refused before any value was validated: one error, of the body as a whole."""
    assert_problem(answer, 422, "InvalidValue")
    (error,) = answer.json()["errors"]
    assert error["field"] == "body"
    assert "keys and list items" in error["message"]


def test_a_megabyte_without_a_token_is_not_read(api: httpx.Client) -> None:
    for path in (*AUTH, "/auth/token"):
        assert_problem(api.post(path, content=unknown_keys(10**6), headers=JSON), 413, "BodyTooLarge")


def test_many_keys_are_counted_not_validated(api: httpx.Client, house: House, settings: Settings) -> None:
    for path in AUTH:
        small = 15_000
        for content in (
            unknown_keys(small),
            unknown_keys(small // 2).decode().encode("utf-16"),
            b'{"email": ' + b"[" * small,
            b"[" + b"0," * (small // 2) + b"0]",
            b"[" + b"{}," * (small // 3) + b"{}]",
        ):
            assert_counted(api.post(path, content=content, headers=JSON))
    headers = bearer(settings, house.manager) | JSON
    for path, size in (("/customers/", 60_000), ("/load-orders/", 10**6), ("/deliveries/", 10**6)):
        assert_counted(api.post(path, content=unknown_keys(size), headers=headers))
    many = json.dumps({"items": [{"description": "d", "quantity": 1}] * 5_000}).encode()
    assert_counted(api.post("/load-orders/", content=many, headers=headers))


def test_some_wrong_keys_are_still_named_one_by_one(api: httpx.Client) -> None:
    wrong = {f"wrong{number}": 0 for number in range(40)}
    answer = api.post("/auth/reset", json={"email": "a@b.example"} | wrong)
    assert_problem(answer, 422, "InvalidValue")
    assert [error["field"] for error in answer.json()["errors"]] == list(wrong)


def test_a_form_of_many_fields_or_files_is_refused(api: httpx.Client) -> None:
    fields = b"username=a%40b.example&password=x" + b"&a=" * 4_000
    assert_problem(api.post("/auth/token", content=fields, headers=FORM), 400, "BadRequest")
    files = [("a", ("a", b"x"))] * 100
    assert_problem(api.post("/auth/token", files=files), 400, "BadRequest")


def test_huge_numbers_texts_and_depth_are_refused(api: httpx.Client) -> None:
    for value in (b"9" * 15_000, b'"' + b"x" * 15_000 + b'"', b"1e" + b"9" * 15_000):
        answer = api.post("/auth/reset", content=b'{"email": ' + value + b"}", headers=JSON)
        assert answer.status_code in {400, 422}
        assert len(answer.content) < 1_000
    assert_counted(api.post("/auth/reset", content=b'{"a":' * 3_000, headers=JSON))


def test_a_query_of_many_parameters_is_refused(api: httpx.Client, house: House, settings: Settings) -> None:
    for query in ("a=&" * 2_000, "a=" + "x" * 10_000):
        assert_problem(api.get(f"/healthz?{query}"), 414, "QueryTooLong")
        answer = api.get(f"/deliveries/?{query}", headers=bearer(settings, house.manager))
        assert_problem(answer, 414, "QueryTooLong")
    some = "&".join(f"a{number}=" for number in range(80))
    answer = api.get(f"/deliveries/?{some}", headers=bearer(settings, house.manager))
    assert_problem(answer, 422, "InvalidValue")
