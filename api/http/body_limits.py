"""Bound a request's size and answer in the standard error shape before any costly work is done.

`LimitedRequest` bounds bytes, `few_values` the values of a JSON body: each unknown value becomes an error,
and 70,000 of them blocked the event loop for most of a second.
"""

import contextlib
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from typing import Any

from fastapi import Request, Response
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import problem
from core.errors import InvalidValue

TOO_LARGE = "The body is larger than this server takes."
LONG_QUERY = "The query is longer, or has more parameters, than any request of ours."
MAXIMUM_BODY_BYTES = 64 * 1024
MAXIMUM_QUERY_BYTES = 8 * 1024
MAXIMUM_PARAMETERS = 100
# Keyed by a pattern that matches the whole path. The first need no token; the others take lists or an HTML
# template.
OTHER_BODIES: Mapping[re.Pattern[str], int] = {
    re.compile(r"/auth/.*", re.DOTALL): 16 * 1024,
    re.compile(r"/deliveries/?|/load-orders/.*|/notifications/templates/.*", re.DOTALL): 1024 * 1024,
}
# Allowed beyond what a valid body has, so that this many mistakes are still named one by one.
SPARE_VALUES = 50
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class LimitedRequest:
    """Bound the query and the body (ASGI middleware).

    413 for a Content-Length above the limit, or as soon as a stream exceeds it; 414 for a query beyond its
    bounds. Cookies are dropped: no route reads them, but parsing would cost time.
    """

    def __init__(self, app: ASGIApp, maximum: int, others: Mapping[re.Pattern[str], int] = {}) -> None:
        """``others`` maps patterns that match a whole path to that path's limit in bytes."""
        self.app = app
        self.maximum = maximum
        self.others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        query: bytes = scope["query_string"]
        if len(query) > MAXIMUM_QUERY_BYTES or query.count(b"&") >= MAXIMUM_PARAMETERS:
            await problem(414, "QueryTooLong", "URI Too Long", LONG_QUERY)(scope, receive, send)
            return
        if any(name == b"cookie" for name, _value in scope["headers"]):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"cookie"]}
        path = scope["path"]
        maximum = next((most for paths, most in self.others.items() if paths.fullmatch(path)), self.maximum)
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > maximum:
            await problem(413, "BodyTooLarge", "Content Too Large", TOO_LARGE)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > maximum:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, counted, send)


def few_values(route: APIRoute, handler: Handler) -> Handler:
    """Wrap ``handler`` so that the values of a JSON body are counted before any of them is validated."""
    if route.body_field is None or isinstance(route.body_field.field_info, Form):
        return handler
    model: Any = route.body_field.field_info.annotation

    async def handle(request: Request) -> Response:
        with contextlib.suppress(ClientDisconnect):  # the handler runs into it too, and answers
            require_few_values(await request.body(), most_values_of(model))
        return await handler(request)

    return handle


def require_few_values(body: bytes, maximum: int) -> None:
    """Raise `InvalidValue` if a JSON text has more than ``maximum`` keys and elements on all levels."""
    if len(body) > maximum and count_values(body) > maximum:
        raise InvalidValue("body", f"must have at most {maximum} keys and list items in all")


def count_values(body: bytes) -> int:
    """Return how many keys and elements a JSON text has, or more but never fewer.

    An empty list or object counts as one.
    """
    # In UTF-16, which Python's JSON parser accepts too, a quote's byte may be half of another character.
    plain = body if b"\0" in body else _STRING.sub(b"", body)
    return plain.count(b",") + plain.count(b"{") + plain.count(b"[")


@cache
def most_values_of(model: Any) -> int:
    """Return the most keys and elements that a valid body of this model may have, and some to spare."""
    schema = TypeAdapter(model).json_schema()
    return most_values(schema, schema.get("$defs", {})) + SPARE_VALUES


def most_values(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> int:
    """Return the most keys and elements that a value may have under one of our JSON Schemas."""
    if "$ref" in schema:
        return most_values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return max(most_values(option, definitions) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return max(1, int(schema["maxItems"]) * (1 + most_values(schema["items"], definitions)))
    fields = schema.get("properties", {}).values()
    return max(1, sum(1 + most_values(field, definitions) for field in fields)) if fields else 0
