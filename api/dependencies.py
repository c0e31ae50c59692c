"""What routes ask for. A route's work is one transaction in one thread, committed before its answer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session, sessionmaker

from api.auth import scopes
from api.auth.authentication import Credential, credential_of, note_use, resolve
from api.health import HealthWatch
from api.live import Live
from core.access.actors import Actor
from core.database import row_security
from core.errors import NotAuthenticated
from core.settings import Settings

bearer = OAuth2PasswordBearer(tokenUrl="/auth/token", refreshUrl="/auth/refresh", auto_error=False)


class Authorized:
    """A token that may be genuine, whose holder is looked up in the very transaction of the work.

    ``with authorized() as (session, actor):`` commits at the end of the block, or rolls back. Not a
    yield-dependency: its start, its end and the route would each wait for a thread of their own.
    """

    def __init__(
        self, request: Request, credential: Credential, sessions: sessionmaker[Session] | None = None
    ) -> None:
        self.sessions: sessionmaker[Session] = sessions or request.app.state.sessions
        self.request = request
        self.credential = credential
        self._route: scopes.Route = (request.method, getattr(request.scope.get("route"), "path", ""))
        self._afterwards: list[Callable[[], object]] = []

    def __call__(self) -> AbstractContextManager[tuple[Session, Actor]]:
        return self.apart()

    @contextmanager
    def apart(self) -> Iterator[tuple[Session, Actor]]:
        """A transaction of its own, whatever becomes of the request: also where one is kept for replay."""
        with self.sessions() as session:
            yield session, self.identify(session)
            session.commit()
        self.committed()

    def require_known(self) -> Actor:
        """Return who sends the request, if they may use this route: asked before anything costly is done."""
        with self.apart() as (_session, actor):
            return actor

    def identify(self, session: Session) -> Actor:
        """Who asks; from here on the transaction is inside the company's fence."""
        who = resolve(session, self.credential, now())  # as the owner: a user is of any company
        scopes.require(who.actor, self._route)
        row_security.enter(session, who.actor.company_id)
        note_use(session, who, now())
        return who.actor

    def afterwards(self, action: Callable[[], object]) -> None:
        """What is to be done once the work is committed, and never before: telling others of it."""
        self._afterwards.append(action)

    def committed(self) -> None:
        while self._afterwards:
            self._afterwards.pop(0)()


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _sessions(request: Request) -> sessionmaker[Session]:
    sessions: sessionmaker[Session] = request.app.state.sessions
    return sessions


async def _live(request: Request) -> Live:
    live: Live = request.app.state.live
    return live


async def _health(request: Request) -> HealthWatch:
    health: HealthWatch = request.app.state.health
    return health


async def require_credential(request: Request) -> Credential:
    """No I/O: only a genuine token, or what may be an API token, reaches the database.

    Routes ask for it before they read a body: a stranger is not told what is wrong with theirs.
    """
    known: Credential | None = getattr(request.state, "credential", None)
    if known is not None:
        return known
    token = await bearer(request)
    if token is None:
        raise NotAuthenticated
    request.state.credential = credential = credential_of(request.app.state.settings, token)
    return credential


async def _authorized(request: Request, _token: Annotated[str | None, Depends(bearer)]) -> Authorized:
    return Authorized(request, await require_credential(request))


async def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def now() -> datetime:
    return datetime.now(UTC)


SettingsOf = Annotated[Settings, Depends(_settings)]
Sessions = Annotated[sessionmaker[Session], Depends(_sessions)]
LiveOf = Annotated[Live, Depends(_live)]
HealthOf = Annotated[HealthWatch, Depends(_health)]
Peer = Annotated[str, Depends(_peer)]
AuthorizedCall = Annotated[Authorized, Depends(_authorized)]
