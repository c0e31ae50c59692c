"""One id per request: in its answer, its log lines, and the rows that cause work elsewhere."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.http.body_limits import MAXIMUM_BODY_BYTES
from api.live.socket import endpoint
from core.deliveries import detail, listing
from core.errors import NotFound
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, bearer, running
from tests.support.log_lines import json_lines
from tests.support.servers.live_server import LiveServer

ID = {"X-Request-ID": "call-7.a_B"}
MADE = re.compile(r"[0-9a-f]{16}")
log = logging.getLogger("a.test")


def test_every_answer_has_the_clients_id(client: TestClient, house: House, settings: Settings) -> None:
    headers = ID | bearer(settings, house.manager)
    large = b" " * (MAXIMUM_BODY_BYTES + 1)
    for answer, status in (
        (client.get("/healthz", headers=ID), 200),
        (client.get("/deliveries", headers=headers), 200),
        (client.get("/deliveries/", headers=ID), 401),
        (client.get("/nope", headers=headers), 404),
        (client.put("/deliveries/", headers=headers), 405),
        (client.post("/customers/", content=large, headers=headers), 413),
        (client.get(f"/deliveries/?q={'x' * 9000}", headers=headers), 414),
        (client.post("/customers/", json={}, headers=headers), 422),
    ):
        assert answer.status_code == status
        assert answer.headers.get_list("x-request-id") == [ID["X-Request-ID"]], status


def test_an_unexpected_error_has_the_id_once(
    client: TestClient, house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "page", _fail_with(RuntimeError()))
    answer = client.get("/deliveries/", headers=ID | bearer(settings, house.manager))
    assert answer.status_code == 500
    assert answer.headers.get_list("x-request-id") == [ID["X-Request-ID"]]


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "a b", 'a"b', "a=b", "caf\xe9", "a;b"])
def test_an_id_that_is_not_plain_is_replaced(client: TestClient, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Request-ID": sent.encode("latin-1")}
    found = {client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(found) == 2
    assert all(MADE.fullmatch(one) for one in found)


@pytest.mark.parametrize("path_is_fast", [True, False])
def test_the_lines_of_a_request_name_it(
    settings: Settings, house: House, monkeypatch: pytest.MonkeyPatch, path_is_fast: bool
) -> None:
    monkeypatch.setattr(detail, "find", _fail_with(NotFound()))
    url = f"/deliveries/{house.delivery.id}/"
    with (
        running(settings.model_copy(update={"fast_path": path_is_fast})) as client,
        json_lines("a.test") as in_thread,
        json_lines("api.http") as in_loop,
    ):
        assert client.get(url, headers=ID | bearer(settings, house.manager)).status_code == 404
        assert client.get(url, headers=bearer(settings, house.manager)).status_code == 404
    for (first, second), event in ((in_thread(), "in a thread"), (in_loop(), "refused")):
        assert first["event"].startswith(event)
        assert first["request_id"] == ID["X-Request-ID"]
        assert MADE.fullmatch(second["request_id"])
    assert in_loop()[0]["fields"] == {"method": "GET", "path": url, "error": "NotFound"}


def test_rows_that_cause_work_carry_the_request(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    factories.webhook(session, house.company, url="https://hooks.example.com/")
    session.commit()
    path = f"/deliveries/{house.delivery.id}/status/"
    headers = ID | bearer(settings, house.manager)
    assert client.post(path, json={"status": "pickup_in_progress"}, headers=headers).is_success
    assert client.post("/auth/reset", json={"email": house.manager.email}, headers=ID).is_success
    for table in ("outbox", "notification", "user_link"):
        named = text(f"SELECT count(*) FROM {table} WHERE request_id = :id")
        assert session.scalar(named, {"id": ID["X-Request-ID"]}), table


def test_a_socket_has_one_id_in_handshake_and_lines(
    settings: Settings, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LiveServer(settings)
    server.start()
    monkeypatch.setattr(endpoint, "read_viewer", _fail_with(NotFound()))
    try:
        with json_lines("a.test") as lines, server.connect(1, header=server.token(house.manager)) as watcher:
            assert watcher.client.response is not None
            sent = watcher.client.response.headers["x-request-id"]
            assert watcher.close_code() == 4404
    finally:
        server.stop()
    assert MADE.fullmatch(sent)
    assert [line["request_id"] for line in lines()] == [sent]


def _fail_with(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        log.info("in a thread")
        raise error

    return fail
