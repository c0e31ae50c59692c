"""The short way answers as FastAPI does, to the letter, whatever is asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api import quick
from core.models import Status
from core.settings import Settings
from tests import factories
from tests.integration.api_client import House, bearer, furnish, running
from tests.waiting import wait_until

WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
FIX_TIME = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
FIX = {"latitude": 52.5, "longitude": 13, "fix_time": FIX_TIME, "speed_kmh": 0.1}
DELIVERY = "/deliveries/{id}/"
READS = (
    "/deliveries/",
    "/deliveries/?limit=1",
    "/deliveries/?limit=0",
    "/deliveries/?limit=x&limit=1",
    "/deliveries/?limit=",
    "/deliveries/?status=pending&status=in_transit",
    "/deliveries/?status=gone&status=in_transit",
    "/deliveries/?vehicle_id=01&driver_id=+1",
    "/deliveries/?from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z",
    "/deliveries/?from=2026-01-01",
    "/deliveries/?q=%00",
    "/deliveries/?q=str&q=eet",
    "/deliveries/?cursor=nonsense",
    "/deliveries/?unknown=1",
    DELIVERY,
    f"{DELIVERY}?unknown=1",
    "/deliveries/0/",
    "/deliveries/abc/",
    "/deliveries/1.0/",
    "/deliveries/%31/",
    "/deliveries/99999999999999999999/",
    f"{DELIVERY}checkpoints/?limit=1",
    "/load-orders/",
    "/me/",
    "/vehicles/?limit=201",
    "/users/?role=driver",
    "/users/?role=nobody",
    "/devices/",
    "/devices/K3V9X0Q2MA/",
)
BODIES: tuple[tuple[str, Any], ...] = (
    ("location", FIX),
    ("location", FIX | {"fix_time": "2020-01-01T00:00:00Z"}),
    ("location", FIX | {"latitude": 91}),
    ("location", FIX | {"latitude": "52.5"}),
    ("location", FIX | {"unknown": 1}),
    ("location", {}),
    ("location", []),
    ("location", None),
    ("location", b""),
    ("location", b"{"),
    ("location", b'{"latitude": NaN, "longitude": 1}'),
    ("location", b'{"latitude": 1, "latitude": 2, "longitude": "\xff"}'),
    ("location", b'"\xff"'),
    ("location", b"[" * 100_000),
    ("status", {"status": "in_transit"}),
    ("status", {"status": "pending"}),
    ("status", {"status": "failed"}),
    ("status", {"status": "nothing"}),
    ("status", {"status": "in_transit", "occurred_at": "2026-02-30T00:00:00Z"}),
    ("status", {"status": "in_transit", "reason": "\x00"}),
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"If-Match": '"999"'},
    {"If-Match": "*"},
    {"If-Match": "7"},
    {"If-Match": "x" * 1001},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/problem+json"},
    {"Idempotency-Key": "\x7f"},
)


@pytest.fixture
def house(session: Session) -> House:
    house = furnish(session, Status.IN_TRANSIT)
    session.add_all(
        factories.delivery(session, house.company, load_order_id=house.load_order.id) for _ in range(3)
    )
    session.commit()
    return house


@pytest.fixture
def whole_way(settings: Settings) -> Iterator[TestClient]:
    """The application without the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick, "_readers", lambda _endpoint: None)
        with running(settings) as client:
            yield client


@pytest.fixture
def tokens(house: House, settings: Settings) -> dict[str, dict[str, str]]:
    roles = ("manager", "operator", "driver", "customer")
    people = {role: bearer(settings, getattr(house, role)) for role in roles}
    return people | {
        "nobody": {},
        "basic": {"Authorization": "Basic eA=="},
        "bad": {"Authorization": "Bearer x"},
    }


def same(client: TestClient, whole_way: TestClient, *asked: Any, **options: Any) -> httpx.Response:
    answers: list[httpx.Response] = [one.request(*asked, **options) for one in (whole_way, client)]
    told = [(a.status_code, sorted(a.headers.items()), a.content) for a in answers]
    assert told[0] == told[1], (asked, options)
    assert answers[0].status_code < 500
    return answers[1]


def test_reads_answer_the_same(
    client: TestClient, whole_way: TestClient, house: House, tokens: dict[str, dict[str, str]]
) -> None:
    seen = {
        same(client, whole_way, "GET", path.format(id=house.delivery.id), headers=headers).status_code
        for path in READS
        for headers in tokens.values()
    }
    assert seen == {200, 401, 403, 404, 422}


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_posts_answer_the_same(
    client: TestClient,
    whole_way: TestClient,
    house: House,
    tokens: dict[str, dict[str, str]],
    headers: dict[str, str],
) -> None:
    """Each after it was done once: a repetition changes nothing, and so is answered the same again."""
    path = f"/deliveries/{house.delivery.id}"
    manager = tokens["manager"]
    assert client.post(f"{path}/location/", json=FIX, headers=manager).status_code == 201
    seen = set()
    for person in tokens.values():
        for noun, body in BODIES:
            content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            options = content | {"headers": {"Content-Type": "application/json"} | person | headers}
            seen.add(same(client, whole_way, "POST", f"{path}/{noun}/", **options).status_code)
    assert seen >= {401, 422}


def test_a_stranger_is_not_told_what_is_wrong_with_a_body(client: TestClient, house: House) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        for noun in ("location", "status"):
            answer = client.post(
                f"/deliveries/{house.delivery.id}/{noun}/",
                content=b"{",
                headers={"Content-Type": "application/json", **headers},
            )
            assert answer.status_code == 401


def _waiting(session: Session) -> int:
    session.execute(text("SELECT pg_stat_clear_snapshot()"))
    return int(session.execute(WAITING).scalar_one())


def test_who_finds_all_connections_of_the_loop_in_use_is_told_to_come_again(
    client: TestClient, house: House, settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "WAIT_S", 0.2)
    path, headers = f"/deliveries/{house.delivery.id}/", bearer(settings, house.manager)
    session.execute(text("SELECT FROM vehicle FOR UPDATE"))
    with ThreadPoolExecutor(quick.CONNECTIONS) as threads:
        posts = [
            threads.submit(client.post, f"{path}location/", json=FIX, headers=headers)
            for _ in range(quick.CONNECTIONS)
        ]
        wait_until(lambda: _waiting(session) == quick.CONNECTIONS)
        answer = client.get(path, headers=headers)
        session.rollback()
        assert [post.result().status_code for post in posts] == [201] * quick.CONNECTIONS
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert client.get(path, headers=headers).status_code == 200
