"""A short way through FastAPI for requests in which nothing is unusual.

FastAPI declares our routes and answers every odd request; this runs the plain ones at a third of its cost. A
route takes the short way if it is a plain function whose parameters are of the kinds below; a request takes
it unless one of its fields is refused. Nothing has been done by then, and FastAPI says what is wrong.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar, get_args, get_origin

from fastapi import Request, Response, params
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import dependencies
from api.http import etags
from core.database import cooperative
from core.database.cooperative import CooperativeConnection
from core.database.engine import make_engine, make_sessions
from core.settings import Settings

CONNECTIONS = 6
WAIT_S = 5.0
ON_LOOP = "is_on_loop"
JSON = "application/json"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Value = TypeVar("Value")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Reader = Callable[[Request], Awaitable[Any]]


def on_loop(endpoint: Endpoint) -> Endpoint:
    """Marks a route that is asked for often: its work is done on the event loop (see `database.cooperative`).

    Only for what waits for nothing but the database and computes little.
    """
    setattr(endpoint, ON_LOOP, True)
    return endpoint


class OnLoop:
    """The connections of the work done on the loop, which must never wait for a free one of the pool."""

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(
            settings, process="api", pool_size=CONNECTIONS, overflow=0, connections=CooperativeConnection
        )
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._opening: asyncio.Future[None] | None = None
        self.sessions = make_sessions(self._engine)

    async def run(self, work: Callable[[], Value]) -> Value:
        """Raises `PoolTimeout` as a full pool does: it is the database being away, answered 503."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._open()
                await self._free.acquire()
        except TimeoutError:
            raise PoolTimeout("all connections of the event loop are in use") from None
        return await cooperative.run(partial(self._done, work))

    def _done(self, work: Callable[[], Value]) -> Value:
        """The connection is free when the work has ended, which its caller's being cancelled does not end."""
        try:
            return work()
        finally:
            self._free.release()

    async def _open(self) -> None:
        """SQLAlchemy keeps a lock while it makes the acquaintance of its first connection, so in a thread.

        All wait for the same one, and no longer than they would: it goes on for whoever comes next.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.ensure_future(run_in_threadpool(self._connect_once))
        if not self._opening.done():
            await asyncio.shield(self._opening)

    def _connect_once(self) -> None:
        self._engine.connect().close()

    def close(self) -> None:
        self._engine.dispose()


class Unusual(Exception):
    """FastAPI must look at this request."""


def quick_handler(endpoint: Callable[..., Any], status_code: int | None, slow: Handler) -> Handler:
    """A handler that is ``slow`` for what is unusual; ``slow`` itself when the endpoint is."""
    readers = _readers(endpoint)
    is_on_loop = getattr(endpoint, ON_LOOP, False)
    if readers is None or inspect.iscoroutinefunction(endpoint):
        return slow

    async def handle(request: Request) -> Response:
        try:
            values = {name: await read(request) for name, read in readers.items()}
        except (Unusual, ValidationError, ClientDisconnect):
            return await slow(request)
        if not is_on_loop:
            return await run_in_threadpool(_call, endpoint, values, status_code)
        on_loop: OnLoop = request.app.state.on_loop
        values["authorized"].sessions = on_loop.sessions
        return await on_loop.run(partial(_call, endpoint, values, status_code))

    return handle


def _call(endpoint: Callable[..., Any], values: dict[str, Any], status_code: int | None) -> Response:
    """The work and its rendering, in one thread."""
    result = endpoint(**values)
    if isinstance(result, Response):
        return result
    headers = next((dict(v.headers) for v in values.values() if isinstance(v, Response)), None)
    if result is None and status_code == 204:
        return Response(status_code=204, headers=headers)
    content = b"null" if result is None else result.__pydantic_serializer__.to_json(result)
    return Response(content, status_code or 200, headers, JSON)


def _readers(endpoint: Callable[..., Any]) -> dict[str, Reader] | None:
    """How to read each parameter from a request; None when one is of a kind that only FastAPI knows."""
    signature = inspect.signature(endpoint, eval_str=True)
    if not _is_renderable(signature.return_annotation):
        return None
    readers = {name: _reader(name, parameter.annotation) for name, parameter in signature.parameters.items()}
    known = {name: reader for name, reader in readers.items() if reader is not None}
    return known if len(known) == len(readers) else None


def _is_renderable(annotation: Any) -> bool:
    return annotation is None or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel | Response)
    )


def _reader(name: str, annotation: Any) -> Reader | None:
    if annotation is Response:
        return _new_response
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _body(annotation)
    marks = get_args(annotation)[1:] if get_origin(annotation) is not None else ()
    for mark in marks:
        if isinstance(mark, params.Depends):
            return _KNOWN.get(mark.dependency)
        if isinstance(mark, params.Path):
            return _path(name, TypeAdapter(annotation))
        if isinstance(mark, params.Query) and issubclass(get_args(annotation)[0], BaseModel):
            return _query(get_args(annotation)[0])
    return None


async def _new_response(_request: Request) -> Response:
    response = Response()
    del response.headers["content-length"]  # the final answer has its own
    return response


def _body(model: type[BaseModel]) -> Reader:
    validate = model.__pydantic_validator__.validate_json

    async def read(request: Request) -> Any:
        if request.headers.get("content-type") != JSON:
            raise Unusual
        return validate(await request.body())

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
    return dependencies.Authorized(request, await dependencies.require_credential(request))


async def _if_match(request: Request) -> Any:
    value = request.headers.get("if-match")
    if value is not None:
        raise Unusual
    return None


_KNOWN: dict[Any, Reader] = {
    dependencies._settings: dependencies._settings,
    dependencies._sessions: dependencies._sessions,
    dependencies._live: dependencies._live,
    dependencies._authorized: _authorized,
    etags._if_match: _if_match,
}
