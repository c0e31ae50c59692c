"""The fast path: answer plain requests without FastAPI's dependency solving, at a third of its cost.

FastAPI still declares the routes and answers every other request. A route takes the fast path if it is
marked with `fast_path`; a request takes it unless one of its fields is refused. In that case nothing has been
done yet, and FastAPI renders the error.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from api.dependencies import Authorized, Handler
from api.fast_path.parameters import JSON, NotPlain, parameters_of, read
from api.fast_path.threads import FastThreads
from api.http.body_limits import most_values_of, require_few_values

MARK = "is_on_fast_path"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def fast_path(endpoint: Endpoint) -> Endpoint:
    """Mark a busy route. Its plain requests are then answered by the fast path.

    Making the route raises `CannotBind` if one of its parameters can only be read by FastAPI.
    """
    setattr(endpoint, MARK, True)
    return endpoint


def require_bindable(endpoint: Callable[..., Any]) -> None:
    """Raise `CannotBind` for a marked endpoint that the fast path cannot serve."""
    if hasattr(endpoint, MARK):
        parameters_of(endpoint)


def take_fast_path(route: APIRoute, whole: Handler) -> Handler:
    """Wrap ``whole`` so that plain requests to a marked route skip it."""
    endpoint = inspect.unwrap(route.endpoint)
    if not hasattr(endpoint, MARK):
        return whole
    parameters = parameters_of(endpoint)
    status_code = route.status_code or 200
    model: Any = route.body_field.field_info.annotation if route.body_field is not None else None
    maximum_values = 0 if model is None else most_values_of(model)

    async def handle(request: Request) -> Response:
        threads: FastThreads | None = request.app.state.fast_threads
        if threads is None or "idempotency-key" in request.headers:
            return await whole(request)
        authorized = Authorized(request)
        try:
            body = b"" if model is None else await request.body()
            require_few_values(body, maximum_values)
            values = read(request, parameters, authorized, body)
        except (NotPlain, ValidationError, ClientDisconnect):
            return await whole(request)
        return await threads.run(_call, endpoint, values, status_code)

    return handle


def _call(endpoint: Callable[..., Any], values: dict[str, Any], status_code: int) -> Response:
    """Do the work and render its result in the same thread."""
    result = endpoint(**values)
    if isinstance(result, Response):
        return result
    headers = next((dict(v.headers) for v in values.values() if isinstance(v, Response)), None)
    return Response(result.__pydantic_serializer__.to_json(result), status_code, headers, JSON)
