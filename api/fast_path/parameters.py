"""Read a route's parameters for the fast path, by the same annotations as FastAPI."""

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, get_args, get_origin

from fastapi import Request, Response, params
from pydantic import BaseModel, TypeAdapter

from api import dependencies
from api.http import etags

JSON = "application/json"


class CannotBind(TypeError):
    """Raised at the start of the process for a marked route that only FastAPI can serve."""


class NotPlain(Exception):
    """Raised when FastAPI must handle this request."""


class ParameterSource(enum.Enum):
    """Where a parameter's value comes from."""

    AUTHORIZED = enum.auto()
    STATE = enum.auto()  # an object of the application
    IF_MATCH = enum.auto()
    RESPONSE = enum.auto()  # takes the headers of the answer
    PATH = enum.auto()
    QUERY = enum.auto()
    BODY = enum.auto()


class Parameter(NamedTuple):
    """A parameter of an endpoint; ``lists`` are the query parameters that may be repeated."""

    name: str
    source: ParameterSource
    validate: Callable[[Any], Any]
    lists: frozenset[str] = frozenset()


_DEPENDENCIES: Mapping[Any, tuple[ParameterSource, str]] = {
    dependencies.authorized: (ParameterSource.AUTHORIZED, ""),
    dependencies.settings_of: (ParameterSource.STATE, "settings"),
    dependencies.sessions_of: (ParameterSource.STATE, "sessions"),
    dependencies.live_of: (ParameterSource.STATE, "live"),
    etags.if_match: (ParameterSource.IF_MATCH, ""),
}


def parameters_of(endpoint: Callable[..., Any]) -> Sequence[Parameter]:
    """Return how each parameter of the endpoint is read. Raises `CannotBind`."""
    signature = inspect.signature(endpoint, eval_str=True)
    returned = signature.return_annotation
    is_renderable = isinstance(returned, type) and issubclass(returned, BaseModel | Response)
    if inspect.iscoroutinefunction(endpoint) or not is_renderable:
        raise CannotBind(f"{endpoint.__name__} must be a plain function that returns a model or a Response")
    return [_parameter(endpoint, name, one.annotation) for name, one in signature.parameters.items()]


def _parameter(endpoint: Callable[..., Any], name: str, annotation: Any) -> Parameter:
    if annotation is Response:
        return Parameter(name, ParameterSource.RESPONSE, Response)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Parameter(name, ParameterSource.BODY, annotation.__pydantic_validator__.validate_json)
    marks = get_args(annotation)[1:] if get_origin(annotation) is not None else ()
    for mark in marks:
        if isinstance(mark, params.Depends) and mark.dependency in _DEPENDENCIES:
            source, key = _DEPENDENCIES[mark.dependency]
            return Parameter(name, source, attrgetter(key))
        if isinstance(mark, params.Path):
            return Parameter(name, ParameterSource.PATH, TypeAdapter(annotation).validator.validate_python)
        if isinstance(mark, params.Query) and issubclass(get_args(annotation)[0], BaseModel):
            return _query(name, get_args(annotation)[0])
    raise CannotBind(f"{endpoint.__name__}: the fast path cannot read the parameter {name}")


def _query(name: str, model: type[BaseModel]) -> Parameter:
    lists = frozenset(
        field.alias or field_name
        for field_name, field in model.model_fields.items()
        if get_origin(field.annotation) is list
    )
    return Parameter(name, ParameterSource.QUERY, model.__pydantic_validator__.validate_python, lists)


def read(
    request: Request, parameters: Sequence[Parameter], authorized: dependencies.Authorized, body: bytes
) -> dict[str, Any]:
    """Return the endpoint's arguments. Raises `NotPlain`, and pydantic's `ValidationError`."""
    values: dict[str, Any] = {}
    for name, source, validate, lists in parameters:
        match source:
            case ParameterSource.AUTHORIZED:
                values[name] = authorized
            case ParameterSource.STATE:
                values[name] = validate(request.app.state)
            case ParameterSource.PATH:
                values[name] = validate(request.path_params[name])
            case ParameterSource.BODY:
                if request.headers.get("content-type") != JSON:
                    raise NotPlain
                values[name] = validate(body)
            case ParameterSource.QUERY:
                sent = request.query_params
                values[name] = validate(
                    {key: sent.getlist(key) if key in lists else value for key, value in sent.items()}
                )
            case ParameterSource.IF_MATCH:
                if "if-match" in request.headers:
                    raise NotPlain
                values[name] = None
            case ParameterSource.RESPONSE:
                values[name] = response = Response()
                del response.headers["content-length"]  # the final response sets its own
    return values
