"""FastAPI dependencies. A route works in one transaction on one thread and commits before it answers."""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import OAuth2PasswordBearer
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.orm import Session, sessionmaker

from api.auth import authentication, scopes
from api.auth.authentication import Credential, credential_of
from api.health import HealthWatch
from api.live import Live
from core.access.actors import Actor
from core.errors import NotAuthenticated
from core.settings import Settings

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
bearer = OAuth2PasswordBearer(tokenUrl="/auth/token", refreshUrl="/auth/refresh", auto_error=False)


class Authorized:
    """A credential whose user or API token is resolved in the same transaction as the route's work.

    ``with authorized() as (session, actor):`` commits at the end of the block, or rolls back. It is not a
    yield-dependency: set-up, tear-down and the route would then each wait for a thread of their own.
    """

    def __init__(self, request: Request) -> None:
        self.credential = require_credential(request)
        self.received_at = datetime.now(UTC)
        self.sessions: sessionmaker[Session] = request.app.state.sessions
        self.request = request
        self._route: scopes.RouteKey = (request.method, getattr(request.scope.get("route"), "path", ""))
        self._afterwards: list[Callable[[], object]] = []

    def apart(self) -> AbstractContextManager[tuple[Session, Actor]]:
        """Open a transaction of its own, which commits even where an idempotency key holds the request's."""
        return Authorized.__call__(self)

    @contextmanager
    def __call__(self) -> Iterator[tuple[Session, Actor]]:
        with self.sessions() as session:
            yield session, self.identify(session)
            session.commit()
        self.committed()

    def require_known(self) -> Actor:
        """Return the actor if it may use this route. Call this before any costly work."""
        with self.apart() as (_session, actor):
            return actor

    def identify(self, session: Session) -> Actor:
        """Return the actor and place the transaction under the tenant's row-level security (RLS) policy."""
        who = authentication.enter(session, self.credential, self.received_at)
        scopes.require(who.actor, self._route)
        if who.is_use_due:
            authentication.note_use(session, who, self.received_at)
        return who.actor

    def afterwards(self, action: Callable[[], object]) -> None:
        """Queue an action to run after the commit and never before it, such as publishing a position."""
        self._afterwards.append(action)

    def committed(self) -> None:
        while self._afterwards:
            self._afterwards.pop(0)()


async def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def sessions_of(request: Request) -> sessionmaker[Session]:
    sessions: sessionmaker[Session] = request.app.state.sessions
    return sessions


async def live_of(request: Request) -> Live:
    live: Live = request.app.state.live
    return live


async def health_of(request: Request) -> HealthWatch:
    health: HealthWatch = request.app.state.health
    return health


def require_credential(request: Request) -> Credential:
    """Return the request's credential without any I/O. Raises `NotAuthenticated`.

    Only a genuine JWT, or text that may be an API token, reaches the database. Routes check it before they
    read the body: an unauthenticated client must not get validation errors.
    """
    known: Credential | None = getattr(request.state, "credential", None)
    if known is not None:
        return known
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    request.state.credential = credential = credential_of(request.app.state.settings, token)
    return credential


async def authorized(request: Request, _token: Annotated[str | None, Depends(bearer)]) -> Authorized:
    return Authorized(request)


def authorizes(endpoint: Callable[..., Any]) -> bool:
    """Return whether the route is for users and integrations: it has the parameter ``authorized``."""
    return "authorized" in inspect.signature(endpoint).parameters


def token_first(route: APIRoute, handler: Handler) -> Handler:
    """Wrap ``handler`` so that the credential is checked before the body is read."""
    if not authorizes(route.endpoint):
        return handler

    async def handle(request: Request) -> Response:
        require_credential(request)
        return await handler(request)

    return handle


async def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def now() -> datetime:
    return datetime.now(UTC)


SettingsOf = Annotated[Settings, Depends(settings_of)]
Sessions = Annotated[sessionmaker[Session], Depends(sessions_of)]
LiveOf = Annotated[Live, Depends(live_of)]
HealthOf = Annotated[HealthWatch, Depends(health_of)]
Peer = Annotated[str, Depends(_peer)]
AuthorizedCall = Annotated[Authorized, Depends(authorized)]
