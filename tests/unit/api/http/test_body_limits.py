"""How much a JSON body holds, counted without parsing it; and that what is valid always passes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from api.http.body_limits import MAXIMUM_BODY_BYTES, OTHER_BODIES, LimitedRequest, count_values, most_values
from tests.support.api_client import document

Json = Any
TEXTS = st.text(alphabet=st.sampled_from('a",:[]{}\\ü\u2201'), max_size=8)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def held(value: Json) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else max(1, len(inner) + sum(map(held, inner)))


def held_at_most(value: Json) -> int:
    """An empty list or object inside another counts once more."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else max(1, len(inner)) + sum(map(held_at_most, inner))


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"]), st.booleans())
def test_no_body_holds_more_than_is_counted(value: Json, encoding: str, is_ascii: bool) -> None:
    counted = count_values(json.dumps(value, ensure_ascii=is_ascii).encode(encoding))
    assert counted >= held(value)
    if encoding == "utf-8":
        assert counted == held_at_most(value)


def bodies() -> list[Any]:
    return [
        pytest.param(path, content["schema"], id=f"{method} {path}")
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
    ]


def largest(schema: Json) -> Json:
    """A value with everything that its schema allows, of which each character is escaped."""
    if "$ref" in schema:
        return largest(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return max(map(largest, schema["anyOf"]), key=lambda value: len(json.dumps(value)))
    if schema.get("type") == "array":
        return [largest(schema["items"])] * schema["maxItems"]
    if schema.get("type") == "object":
        return {name: largest(field) for name, field in schema.get("properties", {}).items()}
    return "\u2201" * schema.get("maxLength", 40) if schema.get("type") == "string" else 1e-300


@pytest.mark.parametrize(("path", "schema"), bodies())
def test_the_largest_body_that_a_route_takes_is_within_its_limits(path: str, schema: Json) -> None:
    body = json.dumps(largest(schema)).encode()
    where = path.replace("{", "").replace("}", "")
    limits = [limit for paths, limit in OTHER_BODIES.items() if paths.fullmatch(where)]
    assert len(body) < (limits[0] if limits else MAXIMUM_BODY_BYTES)
    assert count_values(body) <= most_values(schema, document()["components"]["schemas"])


def test_cookies_never_reach_a_route() -> None:
    async def shown(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        answer = JSONResponse({"cookies": request.cookies, "accept": request.headers["accept"]})
        await answer(scope, receive, send)

    client = TestClient(LimitedRequest(shown, maximum=10))
    answer = client.get("/", headers={"Cookie": "a=1; b=2", "Accept": "text/html"})
    assert answer.json() == {"cookies": {}, "accept": "text/html"}
