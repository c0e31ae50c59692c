"""The fast path: answer plain requests without FastAPI's dependency solving, at a third of its cost.

FastAPI still declares the routes and answers every other request. A route takes the fast path if it is a
plain function whose parameters are all of the kinds below; a request takes it unless one of its fields is
refused. In that case nothing has been done yet, and FastAPI renders the error.
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
    """Mark a busy route so that its work runs on the event loop (see `database.cooperative`).

    Only for work that waits for nothing but the database and computes little.
    """
    setattr(endpoint, ON_LOOP, True)
    return endpoint


class OnLoop:
    """The database connections of work on the event loop, which must never block on the pool."""

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(
            settings, process="api", pool_size=CONNECTIONS, overflow=0, connections=CooperativeConnection
        )
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._opening: asyncio.Future[None] | None = None
        self.sessions = make_sessions(self._engine)

    async def run(self, work: Callable[[], Value]) -> Value:
        """Run the work on the event loop. Raises `PoolTimeout` when no connection is free within `WAIT_S`."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._open()
                await self._free.acquire()
        except TimeoutError:
            # The same error as a full pool's: answered 503, like a database that is away.
            raise PoolTimeout("all connections of the event loop are in use") from None
        return await cooperative.run(partial(self._done, work))

    def _done(self, work: Callable[[], Value]) -> Value:
        """Run the work, then free its connection."""
        try:
            return work()
        finally:
            # Cancelling the caller does not end the work, so the work itself frees the connection.
            self._free.release()

    async def _open(self) -> None:
        """Open the first connection once, in a thread."""
        # SQLAlchemy holds a lock while it sets up its first connection, so this must not run on the loop. All
        # callers share the attempt, each up to its own time-out; it goes on for later callers.
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.ensure_future(run_in_threadpool(self._connect_once))
        if not self._opening.done():
            await asyncio.shield(self._opening)

    def _connect_once(self) -> None:
        self._engine.connect().close()

    def close(self) -> None:
        self._engine.dispose()


class Unusual(Exception):
    """Raised when FastAPI must handle this request."""


def quick_handler(endpoint: Callable[..., Any], status_code: int | None, slow: Handler) -> Handler:
    """Return a handler that falls back to ``slow`` for unusual requests.

    An endpoint that only FastAPI can serve gets ``slow`` itself.
    """
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
    """Do the work and render its result in the same thread."""
    result = endpoint(**values)
    if isinstance(result, Response):
        return result
    headers = next((dict(v.headers) for v in values.values() if isinstance(v, Response)), None)
    if result is None and status_code == 204:
        return Response(status_code=204, headers=headers)
    content = b"null" if result is None else result.__pydantic_serializer__.to_json(result)
    return Response(content, status_code or 200, headers, JSON)


def _readers(endpoint: Callable[..., Any]) -> dict[str, Reader] | None:
    """Return one reader per parameter, or None when only FastAPI can read one of them."""
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
    del response.headers["content-length"]  # the final response sets its own
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
