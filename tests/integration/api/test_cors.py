"""Cross-origin requests of browsers, with and without `MILEPOST_CORS_ORIGINS`."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.testclient import TestClient

from core.settings import Settings
from tests.support.api_client import House, bearer, running

APP = "https://app.example.com"
PREFLIGHT = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,if-match",
}


@pytest.fixture
def open_client(settings: Settings) -> Iterator[TestClient]:
    """An API that the pages of one origin may read. Preflights are no operations of the OpenAPI document."""
    with running(settings.model_copy(update={"cors_origins": f"{APP}, http://localhost:5173"})) as client:
        client.event_hooks = {}
        yield client


def preflight(client: TestClient, origin: str) -> httpx.Response:
    answer: httpx.Response = client.options("/deliveries/1/", headers={"Origin": origin, **PREFLIGHT})
    return answer


def test_cors_is_off_by_default(client: TestClient) -> None:
    answer = preflight(client, APP)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", [APP, "http://localhost:5173"])
def test_a_listed_origin_passes_the_preflight(open_client: TestClient, origin: str) -> None:
    answer = preflight(open_client, origin)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert {"authorization", "idempotency-key", "if-match"} <= set(allowed.split(", "))


@pytest.mark.parametrize("origin", ["https://app.example.com.evil.example", "http://app.example.com", "null"])
def test_another_origin_fails_the_preflight(open_client: TestClient, origin: str) -> None:
    answer = preflight(open_client, origin)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_pages_may_read_answers_errors_and_etags(open_client: TestClient, house: House) -> None:
    headers = {"Origin": APP, **bearer(open_client.app.state.settings, house.manager)}  # type: ignore[attr-defined]
    for path, status in ((f"/deliveries/{house.delivery.id}/", 200), ("/deliveries/999999/", 404)):
        answer = open_client.get(path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP
        assert "ETag" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


def test_a_page_reads_why_its_body_is_too_large(open_client: TestClient) -> None:
    answer = open_client.post("/vehicles/", content=b" " * 70_000, headers={"Origin": APP})
    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == APP


def test_credentials_of_the_browser_are_never_allowed(open_client: TestClient) -> None:
    for answer in (preflight(open_client, APP), open_client.get("/healthz", headers={"Origin": APP})):
        assert "access-control-allow-credentials" not in answer.headers
