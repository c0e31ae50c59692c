"""Bind a route's parameters for the fast path: each is read by a function made from its annotation."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args, get_origin

from fastapi import Request, Response, params
from pydantic import BaseModel, TypeAdapter

from api import dependencies
from api.http import etags
from api.http.body_limits import most_values_of, require_few_values

JSON = "application/json"
Reader = Callable[[Request], Awaitable[Any]]


class CannotBind(TypeError):
    """Raised at the start of the process for a marked route that only FastAPI can serve."""


class NotPlain(Exception):
    """Raised when FastAPI must handle this request."""


def readers_of(endpoint: Callable[..., Any]) -> dict[str, Reader]:
    """Return one reader per parameter. Raises `CannotBind`."""
    signature = inspect.signature(endpoint, eval_str=True)
    returned = signature.return_annotation
    is_renderable = isinstance(returned, type) and issubclass(returned, BaseModel | Response)
    if inspect.iscoroutinefunction(endpoint) or not is_renderable:
        raise CannotBind(f"{endpoint.__name__} must be a plain function that returns a model or a Response")
    return {name: _reader(endpoint, name, one.annotation) for name, one in signature.parameters.items()}


def _reader(endpoint: Callable[..., Any], name: str, annotation: Any) -> Reader:
    if annotation is Response:
        return _new_response
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _body(annotation)
    marks = get_args(annotation)[1:] if get_origin(annotation) is not None else ()
    for mark in marks:
        if isinstance(mark, params.Depends) and mark.dependency in _DEPENDENCIES:
            return _DEPENDENCIES[mark.dependency]
        if isinstance(mark, params.Path):
            return _path(name, TypeAdapter(annotation))
        if isinstance(mark, params.Query) and issubclass(get_args(annotation)[0], BaseModel):
            return _query(get_args(annotation)[0])
    raise CannotBind(f"{endpoint.__name__}: the fast path cannot read the parameter {name}")


async def _new_response(_request: Request) -> Response:
    response = Response()
    del response.headers["content-length"]  # the final response sets its own
    return response


def _body(model: type[BaseModel]) -> Reader:
    validate, maximum = model.__pydantic_validator__.validate_json, most_values_of(model)

    async def read(request: Request) -> Any:
        if request.headers.get("content-type") != JSON:
            raise NotPlain
        body = await request.body()
        require_few_values(body, maximum)
        return validate(body)

    return read


def _path(name: str, adapter: TypeAdapter[Any]) -> Reader:
    validate = adapter.validator.validate_python

    async def read(request: Request) -> Any:
        return validate(request.path_params[name])

    return read


def _query(model: type[BaseModel]) -> Reader:
    several = {
        field.alias or name
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is list
    }

    async def read(request: Request) -> Any:
        sent = request.query_params
        values: Mapping[str, Any] = {
            key: sent.getlist(key) if key in several else value for key, value in sent.items()
        }
        return model.__pydantic_validator__.validate_python(values)

    return read


async def _authorized(request: Request) -> Any:
    return dependencies.Authorized(request, request.state.credential)


async def _if_match(request: Request) -> Any:
    if "if-match" in request.headers:
        raise NotPlain
    return None


_DEPENDENCIES: Mapping[Any, Reader] = {
    dependencies.settings_of: dependencies.settings_of,
    dependencies.sessions_of: dependencies.sessions_of,
    dependencies.live_of: dependencies.live_of,
    dependencies.authorized: _authorized,
    etags.if_match: _if_match,
}
