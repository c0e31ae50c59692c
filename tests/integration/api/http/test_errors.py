"""One error shape everywhere, whatever goes wrong; and what monitoring reads."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.http.body_limits import MAXIMUM_BODY_BYTES
from api.http.errors import MEDIA_TYPE
from core.database.engine import make_engine, make_sessions
from core.deliveries import listing
from core.settings import Settings
from tests.support.api_client import House, assert_problem, bearer, furnish, running
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

JSON = {"Content-Type": "application/json"}


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/nope/"), 404, "NotFound")
    wrong = client.delete("/deliveries/")
    assert_problem(wrong, 405, "MethodNotAllowed")
    assert "GET" in wrong.headers["allow"]


@pytest.mark.parametrize("path", ["/deliveries/", "/customers/"])
def test_malformed_bodies_are_problems(
    client: TestClient, house: House, settings: Settings, path: str
) -> None:
    headers = bearer(settings, house.manager) | JSON
    cases: list[tuple[bytes, int]] = [
        (b"{", 422),
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"x"', 422),
        (b'{"name": "\xff"}', 400),
        (b'{"\\ud800": 1}', 422),
        (b'{"name": "\\ud800"}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b"[" * 60_000, 422),
        (b'{"name": ' + b"9" * 10_000 + b"}", 400),
    ]
    for content, status in cases:
        answer = client.post(path, content=content, headers=headers)
        assert answer.status_code == status, content[:40]
        assert answer.headers["content-type"] == MEDIA_TYPE, content[:40]
    assert client.post(path, content=b"{}", headers=bearer(settings, house.manager)).status_code == 422


def test_a_body_above_the_limit_is_refused_announced_or_streamed(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, large = bearer(settings, house.manager) | JSON, b" " * (MAXIMUM_BODY_BYTES + 1)
    assert_problem(client.post("/customers/", content=large, headers=headers), 413, "BodyTooLarge")
    unread = client.get("/healthz", headers={"Content-Length": str(MAXIMUM_BODY_BYTES + 1)})
    assert_problem(unread, 413, "BodyTooLarge")
    streamed = client.post("/customers/", content=iter([large]), headers=headers)
    assert_problem(streamed, 413, "BodyTooLarge")
    fits = b'{"name": "Ada"}'.ljust(MAXIMUM_BODY_BYTES)
    assert client.post("/customers/", content=fits, headers=headers).status_code == 201


def test_malformed_ids_are_not_found(client: TestClient, house: House, settings: Settings) -> None:
    for number in ("0", "-1", "abc", "1.0", "1e3", "%2B1", "%201", "1_0", "٣", str(2**31), "9" * 30, "%00"):
        answer = client.get(f"/deliveries/{number}/", headers=bearer(settings, house.manager))
        assert answer.status_code == 404, number
        assert answer.headers["content-type"] == MEDIA_TYPE


def test_unexpected_error_says_nothing_of_itself(
    client: TestClient, house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(listing, "page", fail)
    answer = client.get("/deliveries/", headers=bearer(settings, house.manager))
    assert_problem(answer, 500, "InternalError")
    assert "secret" not in answer.text


def test_failed_commit_is_not_answered_with_success(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    session.execute(
        text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE unique_violation; END $$;"
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON customer DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    )
    session.commit()
    answer = client.post("/customers/", json={"name": "Ada"}, headers=bearer(settings, house.manager))
    assert_problem(answer, 409, "Conflict")


def test_database_away_is_503_and_over_when_it_is_back(
    own_postgres: PostgresServer, own_database_url: str, broker: Broker
) -> None:
    settings = make_settings(own_database_url, broker.url, broker.mqtt_key)
    engine = make_engine(settings, process="test")
    with make_sessions(engine)() as session:
        house = furnish(session)
    engine.dispose()
    headers = bearer(settings, house.manager)
    with running(settings) as client:
        assert client.get("/deliveries/", headers=headers).status_code == 200
        own_postgres.stop()
        for method, path, body in (
            ("GET", "/deliveries/", None),
            ("POST", f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}),
        ):
            answer = client.request(method, path, json=body, headers=headers)
            assert_problem(answer, 503, "Unavailable")
            assert int(answer.headers["retry-after"]) > 0
        login = client.post("/auth/token", data={"username": "a@example.com", "password": "x"})
        assert_problem(login, 503, "Unavailable")
        assert client.get("/healthz").status_code == 200
        not_ready = client.get("/readyz/")
        assert_problem(not_ready, 503, "NotReady")
        assert not_ready.json()["database"] == "away"
        assert "milepost_database_up 0.0" in client.get("/metrics").text
        own_postgres.start()
        assert client.get("/deliveries/", headers=headers).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_not_migrated_database_is_not_ready(client: TestClient, settings: Settings, session: Session) -> None:
    session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    session.commit()
    answer = client.get("/readyz")
    assert_problem(answer, 503, "NotReady")
    assert answer.json()["database"] == "not migrated"


def test_database_of_a_later_version_is_ready(client: TestClient, session: Session) -> None:
    session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    session.commit()
    assert client.get("/readyz").status_code == 200


def test_readiness_shows_the_broker_without_requiring_it(client: TestClient, broker: Broker) -> None:
    assert wait_until(lambda: client.get("/readyz").json()["live"] == "connected", what="the bridge")
    broker.stop()
    assert wait_until(lambda: client.get("/readyz").json()["live"] == "away", what="the bridge to notice")
    assert client.get("/readyz").status_code == 200


def test_metrics_are_by_route_template_and_for_the_machine_itself(house: House, settings: Settings) -> None:
    with running(settings.model_copy(update={"metrics_token": settings.jwt_key})) as client:
        client.get(f"/deliveries/{house.delivery.id}", headers=bearer(settings, house.manager))
        client.get("/made/up")
        shown = client.get("/metrics/").text
        assert 'method="GET",route="/deliveries/{delivery_id}/",status="200"} 1.0' in shown
        assert 'route="unmatched",status="404"} 1.0' in shown
        assert "milepost_outbox_rows 0.0" in shown
        assert "milepost_quarantine_rows 0.0" in shown
        assert "milepost_live_sockets 0.0" in shown
        forwarded = {"X-Forwarded-For": "203.0.113.9"}
        assert_problem(client.get("/metrics", headers=forwarded), 403, "Forbidden")
        token = {"Authorization": f"Bearer {settings.jwt_key.get_secret_value()}"}
        assert client.get("/metrics", headers=forwarded | token).status_code == 200
        stranger = TestClient(client.app, client=("203.0.113.9", 1))
        assert_problem(stranger.get("/metrics"), 403, "Forbidden")
        assert stranger.get("/metrics", headers=token).status_code == 200


WITHOUT_TOKEN = {
    "/auth/token",
    "/auth/refresh",
    "/auth/reset",
    "/auth/set-password",
    "/healthz",
    "/readyz",
    "/metrics",
}


def test_openapi_declares_our_errors_everywhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("tags"), where
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert MEDIA_TYPE in answer["content"], f"{where} {status}"
            assert ("security" in operation) is (path not in WITHOUT_TOKEN), where
