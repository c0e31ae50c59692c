"""``Idempotency-Key``: a repeated POST gets the first one's response and has no further effect.

`api.http.route.ApiRoute` brings it to every router. A request with a key runs in one transaction from its
first query to its rendered response: claim the key, do the work, store the response, commit. Requests without
a key are unaffected.
"""

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, Protocol, runtime_checkable
from weakref import WeakValueDictionary

import anyio
import msgspec
from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.dependencies import Authorized, Handler, authorizes, now
from core.access.actors import Actor
from core.database.engine import LOCK_TIMEOUT_S
from core.records import idempotency
from core.records.idempotency import KeptAnswer

KEPT_HEADERS = ("content-type", "etag", "location")
REPLAYED = "Idempotency-Replayed"


@runtime_checkable
class Fingerprinted(Protocol):
    """A form with files, built by a dependency and identified by the files' hashes, not names and types."""

    @property
    def fingerprint(self) -> str: ...


class Replay(Exception):
    """Raised when this request was answered before; carries the stored response."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__("answered before")
        self.answer = answer


class OnceAuthorized(Authorized):
    """Run every block of the request in one transaction; `keep` commits it, `close` rolls it back."""

    def __init__(self, plain: Authorized, request: idempotency.Request) -> None:
        super().__init__(plain.request)
        self._request = request
        self._session: Session | None = None
        self._actor: Actor | None = None

    @contextmanager
    def __call__(self) -> Iterator[tuple[Session, Actor]]:
        if self._session is None or self._actor is None:
            self._session = self.sessions()
            self._actor = self.identify(self._session)
            answer = idempotency.claim(self._session, self._actor, self._request, now())
            if answer is not None:
                raise Replay(answer)
        yield self._session, self._actor

    def keep(self, answer: KeptAnswer) -> None:
        """Commit the effect together with its response, then run the actions queued for after the commit."""
        if self._session is not None and self._actor is not None:
            idempotency.keep(self._session, self._actor, self._request, answer)
            self._session.commit()
        self.committed()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


async def _key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Any text of your own, new for each new request: sent again within 24 h with the same"
            " fields, the request is not done twice, and its first answer is given again",
        ),
    ] = None,
) -> None:
    request.state.idempotency_key = key


def with_key(endpoint: Callable[..., Any], dependencies: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """Return an authorised endpoint, and its dependencies, so that it gets an `OnceAuthorized` for a key."""
    # FastAPI makes a route anew from a wrapped endpoint when it includes the router.
    if hasattr(endpoint, "__wrapped__") or not authorizes(endpoint):
        return endpoint, dependencies

    @wraps(endpoint)
    def called(authorized: Authorized, **values: Any) -> Any:
        return endpoint(authorized=_claiming(authorized, values), **values)

    @wraps(endpoint)
    async def awaited(authorized: Authorized, **values: Any) -> Any:
        return await endpoint(authorized=_claiming(authorized, values), **values)

    wrapped = awaited if inspect.iscoroutinefunction(endpoint) else called
    return wrapped, [*dependencies, Depends(_key)]


def _claiming(authorized: Authorized, values: Mapping[str, Any]) -> Authorized:
    request = authorized.request
    key = request.state.idempotency_key
    if key is None:
        return authorized
    route = f"{request.method} {request.scope['route'].path}"
    once = OnceAuthorized(authorized, idempotency.Request(route, key, fingerprint(values)))
    request.state.once = once
    return once


def once(route: APIRoute, handler: Handler) -> Handler:
    """Wrap ``handler`` so that requests with the same key are handled one after the other, and once."""
    if "POST" not in (route.methods or ()) or not authorizes(route.endpoint):
        return handler
    locks: WeakValueDictionary[tuple[str | None, ...], asyncio.Lock] = WeakValueDictionary()

    async def handle(request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        if key is None:
            return await handler(request)
        # Duplicates in this process wait here: waiting in the database would use up the threads that the
        # first request needs.
        which = (request.headers.get("authorization"), request.url.path, key)
        lock = locks.setdefault(which, asyncio.Lock())
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                await lock.acquire()
        except TimeoutError:
            raise idempotency.StillUnderWay from None
        try:
            return await _do_once(handler, request)
        finally:
            lock.release()

    return handle


async def _do_once(handler: Handler, request: Request) -> Response:
    try:
        response = await handler(request)
        return await _kept(request, response)
    except Replay as replay:
        return _again(replay.answer)
    finally:
        await _closed(request)


async def _kept(request: Request, response: Response) -> Response:
    once = _once_of(request)
    if once is not None and response.status_code < 400:
        await run_in_threadpool(once.keep, _answer(response))
    return response


async def _closed(request: Request) -> None:
    if (once := _once_of(request)) is not None:
        # An upload that times out is cancelled; its connection must be returned all the same.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(once.close)


def _once_of(request: Request) -> OnceAuthorized | None:
    return getattr(request.state, "once", None)


def _answer(response: Response) -> KeptAnswer:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    is_secret = "no-store" in response.headers.get("cache-control", "")
    return KeptAnswer(response.status_code, headers, None if is_secret else bytes(response.body))


def _again(answer: KeptAnswer) -> Response:
    return Response(answer.body, answer.status, headers={**answer.headers, REPLAYED: "true"})


def forbid_keeping(response: Response) -> None:
    """Mark a response that contains a secret: neither a cache nor our database may store it."""
    response.headers["Cache-Control"] = "no-store"


def fingerprint(values: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the parsed fields and the files' hashes.

    Not of the raw body: the same fields may be encoded differently when a client sends them again.
    """
    fields = {name: plain for name, value in values.items() if (plain := _plain(value)) is not None}
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).digest()


def _plain(value: Any) -> Any:
    """Return a client's value as plain data; None for values that are not fields."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Fingerprinted):
        return value.fingerprint
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | datetime | frozenset) else None
