"""What the page behind e-mailed links is served with; a browser tries it in `tests/browser`."""

import re

from starlette.testclient import TestClient

from api.routes.set_password import PAGE


def test_it_may_run_its_own_script_and_reach_nothing_but_us(client: TestClient) -> None:
    request_id = {"X-Request-ID": "the-same"}
    answer = client.get("/set-password", headers=request_id)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert client.head("/set-password", headers=request_id).headers == answer.headers
    assert answer.text == client.get("/set-password/").text == PAGE
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for kind in ("script", "style"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", rules[f"{kind}-src"])
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"(src|href|action)=|url\(|@import|https?:", PAGE)


def test_it_is_for_people_and_not_in_the_apis_document(client: TestClient) -> None:
    assert "/set-password" not in client.get("/openapi.json").json()["paths"]
    assert client.post("/set-password").status_code == 405
