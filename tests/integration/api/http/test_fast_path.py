"""The fast path answers exactly as FastAPI does."""

import asyncio
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from threading import Event, Semaphore
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Header, Response
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.dependencies import AuthorizedCall
from api.fast_path import handler, threads
from api.fast_path.handler import fast_path
from api.fast_path.parameters import CannotBind
from api.fast_path.threads import FastThreads
from api.http.route import ApiRoute
from core.rules.enums import Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, bearer, furnish, running
from tests.support.waiting import wait_until

WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
FIX_TIME = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
FIX = {"latitude": 52.5, "longitude": 13, "fix_time": FIX_TIME, "speed_kmh": 0.1}
DELIVERY = "/deliveries/{id}/"
REQUEST_ID = {"X-Request-ID": "the-same"}  # otherwise each answer has its own
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
    """The application without the fast path."""
    with running(settings.model_copy(update={"fast_path": False})) as client:
        yield client


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The routes that were answered by the fast path."""
    names: set[str] = set()
    call = handler._call

    def noted(endpoint: Any, *values: Any) -> Any:
        names.add(endpoint.__name__)
        return call(endpoint, *values)

    monkeypatch.setattr(handler, "_call", noted)
    return names


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
    options["headers"] = options.get("headers", {}) | REQUEST_ID
    answers: list[httpx.Response] = [one.request(*asked, **options) for one in (whole_way, client)]
    compared = [(a.status_code, sorted(a.headers.items()), a.content) for a in answers]
    assert compared[0] == compared[1], (asked, options)
    assert answers[0].status_code < 500
    return answers[1]


def test_reads_answer_the_same(
    client: TestClient,
    whole_way: TestClient,
    house: House,
    tokens: dict[str, dict[str, str]],
    taken: set[str],
) -> None:
    seen = {
        same(client, whole_way, "GET", path.format(id=house.delivery.id), headers=headers).status_code
        for path in READS
        for headers in tokens.values()
    }
    assert seen == {200, 401, 403, 404, 422}
    assert taken == {"list_deliveries", "read_delivery"}


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_posts_answer_the_same(
    client: TestClient,
    whole_way: TestClient,
    house: House,
    tokens: dict[str, dict[str, str]],
    headers: dict[str, str],
    taken: set[str],
) -> None:
    """Each after it was done once: a repetition changes nothing, and so is answered the same again."""
    path = f"/deliveries/{house.delivery.id}"
    manager = tokens["manager"]
    assert client.post(f"{path}/location/", json=FIX, headers=manager).status_code == 201
    assert taken == {"report_location"}
    seen = set()
    for person in tokens.values():
        for noun, body in BODIES:
            content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            options = content | {"headers": {"Content-Type": "application/json"} | person | headers}
            seen.add(same(client, whole_way, "POST", f"{path}/{noun}/", **options).status_code)
    assert seen >= {401, 422}


def test_a_stranger_does_not_learn_what_is_wrong_with_a_body(client: TestClient, house: House) -> None:
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


def test_request_gets_503_while_all_threads_stay_busy(
    client: TestClient, house: House, settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WAIT_S", 0.2)
    path, headers = f"/deliveries/{house.delivery.id}/", bearer(settings, house.manager)
    session.execute(text("SELECT FROM vehicle FOR UPDATE"))
    with ThreadPoolExecutor(threads.THREADS) as clients:
        posts = [
            clients.submit(client.post, f"{path}location/", json=FIX, headers=headers)
            for _ in range(threads.THREADS)
        ]
        wait_until(lambda: _waiting(session) == threads.THREADS)
        answer = client.get(path, headers=headers)
        session.rollback()
        assert [post.result().status_code for post in posts] == [201] * threads.THREADS
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert client.get(path, headers=headers).status_code == 200


def test_who_hangs_up_in_the_middle_of_a_body_is_no_error_of_ours(
    client: TestClient, whole_way: TestClient, house: House, settings: Settings
) -> None:
    headers = {"content-type": "application/json"} | REQUEST_ID | bearer(settings, house.manager)
    path = f"/deliveries/{house.delivery.id}/status/"
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }

    def hang_up(one: TestClient) -> list[MutableMapping[str, Any]]:
        sent: list[MutableMapping[str, Any]] = []
        events = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive() -> MutableMapping[str, Any]:
            return next(events, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        assert one.portal is not None
        one.portal.call(one.app, dict(scope), receive, send)
        return sent

    answer = hang_up(client)
    assert answer == hang_up(whole_way)
    assert answer[0]["status"] == 400


def test_cancelled_request_keeps_its_thread_until_its_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WAIT_S", 0.1)

    async def story() -> None:
        fast, may_end, started = FastThreads(), Event(), Semaphore(0)

        def work() -> None:
            started.release()
            may_end.wait()

        tasks = [asyncio.create_task(fast.run(work)) for _ in range(threads.THREADS)]
        for _ in tasks:
            await asyncio.to_thread(started.acquire)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(PoolTimeout, match="threads of the fast path"):
            await fast.run(work)
        may_end.set()
        monkeypatch.undo()
        assert await fast.run(lambda: "done") == "done"
        fast.close()

    asyncio.run(asyncio.wait_for(story(), 20))


def test_request_context_reaches_the_work() -> None:
    mark: ContextVar[str] = ContextVar("mark")

    async def story() -> object:
        fast = FastThreads()
        mark.set("the request's")
        try:
            return await fast.run(mark.get)
        finally:
            fast.close()

    assert asyncio.run(story()) == "the request's"


def _takes_a_header(authorized: AuthorizedCall, name: Annotated[str, Header()]) -> Response:
    raise NotImplementedError


async def _is_coroutine(authorized: AuthorizedCall) -> Response:
    raise NotImplementedError


def _returns_plain_data(authorized: AuthorizedCall) -> dict[str, int]:
    raise NotImplementedError


@pytest.mark.parametrize("endpoint", [_takes_a_header, _is_coroutine, _returns_plain_data])
def test_marked_route_that_cannot_be_bound_stops_the_start(endpoint: Any) -> None:
    router = APIRouter(route_class=ApiRoute)
    with pytest.raises(CannotBind, match=endpoint.__name__):
        router.get("/x/")(fast_path(endpoint))
