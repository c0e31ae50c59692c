"""`GET /status/`: who may read it, and its promise to answer whatever is away."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.accounts.api_tokens import Scope
from core.database.engine import make_engine, make_sessions
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_problem, bearer, furnish, running
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import PostgresServer
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

METRICS_TOKEN = "a token for the monitor alone"
MONITOR = {"Authorization": f"Bearer {METRICS_TOKEN}"}
CHECKS = ["database", "disk", "broker", "queue", "ingest", "leader", "relay", "outbox", "api"]


def with_token(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_token": SecretStr(METRICS_TOKEN)})


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(with_token(settings)) as client:
        yield client


def elsewhere(client: TestClient) -> TestClient:
    """The same application, asked from another machine."""
    assert isinstance(client.app, FastAPI)
    return TestClient(client.app, client=("203.0.113.9", 1), raise_server_exceptions=False)


def statuses(client: TestClient) -> dict[str, str]:
    found: dict[str, str] = {
        check["name"]: check["status"] for check in client.get("/status/").json()["checks"]
    }
    return found


def test_operators_and_managers_read_it_and_others_do_not(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    _, token = factories.api_token(session, house.company, *Scope)
    session.commit()
    for person in (house.manager, house.operator):
        answer = client.get("/status", headers=bearer(settings, person))
        assert [check["name"] for check in answer.json()["checks"]] == CHECKS
    for person in (house.driver, house.customer):
        assert_problem(client.get("/status/", headers=bearer(settings, person)), 403, "Forbidden")
    integration = {"Authorization": f"Bearer {token}"}
    assert_problem(client.get("/status/", headers=integration), 403, "Forbidden")


def test_machines_read_it_by_the_metrics_token_or_on_loopback(client: TestClient) -> None:
    assert client.get("/status/").status_code == 200
    forwarded = client.get("/status/", headers={"X-Forwarded-For": "203.0.113.9"})
    assert_problem(forwarded, 401, "NotAuthenticated")
    assert_problem(elsewhere(client).get("/status/"), 401, "NotAuthenticated")
    wrong = {"Authorization": f"Bearer {METRICS_TOKEN}x"}
    assert_problem(elsewhere(client).get("/status/", headers=wrong), 401, "NotAuthenticated")
    assert elsewhere(client).get("/status/", headers=MONITOR).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status/"])
def test_head_answers_as_get(client: TestClient, path: str) -> None:
    client.event_hooks = {}  # the document does not declare HEAD
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_an_api_alone_says_what_is_missing(client: TestClient) -> None:
    wanted = {"database": "ok", "disk": "unknown", "broker": "ok", "ingest": "failing", "leader": "failing"}
    wanted |= {"relay": "failing", "outbox": "ok", "api": "ok"}
    wait_until(lambda: statuses(client).items() >= wanted.items(), timeout=20, what="its own part is well")
    report = client.get("/status/").json()
    assert report["status"] == "failing"
    ingest = next(check for check in report["checks"] if check["name"] == "ingest")
    assert ingest["detail"] == "16 of 16 shards: It has never reported."
    metrics = client.get("/metrics").text
    assert 'milepost_check{check="ingest",status="failing"} 1.0' in metrics
    assert 'milepost_check{check="database",status="ok"} 1.0' in metrics
    assert 'milepost_check_figure{check="queue",figure="messages_waiting"}' in metrics
    assert "milepost_outbox_rows 0.0" in metrics


def test_a_disk_that_is_named_is_looked_at(settings: Settings) -> None:
    with running(settings.model_copy(update={"disk_folder": "/"})) as client:
        report = client.get("/status/").json()
    disk = next(check for check in report["checks"] if check["name"] == "disk")
    assert 0 < disk["figures"]["free_bytes"] <= disk["figures"]["total_bytes"]


def test_old_rows_of_the_outbox_are_reported(client: TestClient, session: Session, house: House) -> None:
    wait_until(lambda: statuses(client)["outbox"] == "ok", timeout=20)
    session.execute(
        text(
            "INSERT INTO outbox (company_id, kind, payload, created_at)"
            " VALUES (:company, 'alert', '{}', now() - interval '10 minutes')"
        ),
        {"company": house.company.id},
    )
    session.commit()
    wait_until(lambda: statuses(client)["outbox"] == "failing", timeout=20)


def test_without_the_database_monitors_are_answered_people_get_503(
    own_postgres: PostgresServer, own_database_url: str, broker: Broker
) -> None:
    settings = with_token(make_settings(own_database_url, broker.url, broker.mqtt_key))
    engine = make_engine(settings, process="test")
    with make_sessions(engine)() as session:
        house = furnish(session)
    engine.dispose()
    manager = bearer(settings, house.manager)
    with running(settings) as client:
        assert client.get("/status/", headers=manager).status_code == 200
        own_postgres.stop()
        answer = client.get("/status/", headers=manager)
        assert_problem(answer, 503, "Unavailable")
        assert int(answer.headers["retry-after"]) > 0
        wait_until(lambda: statuses(client)["database"] == "failing", timeout=20)
        assert statuses(client)["ingest"] == "unknown"
        assert elsewhere(client).get("/status/", headers=MONITOR).status_code == 200
        assert 'milepost_check{check="database",status="failing"} 1.0' in client.get("/metrics").text
        own_postgres.start()
        wait_until(lambda: statuses(client)["database"] == "ok", timeout=20)
        assert client.get("/status/", headers=manager).status_code == 200
