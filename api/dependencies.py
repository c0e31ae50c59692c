"""What routes ask for. A route's work is one transaction in one thread, committed before its answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session, sessionmaker

from api import tokens
from api.authentication import resolve
from api.live import Live
from core.actors import Actor
from core.errors import NotAuthenticated
from core.settings import Settings

bearer = OAuth2PasswordBearer(tokenUrl="/auth/token", refreshUrl="/auth/refresh", auto_error=False)


class Authorized:
    """A genuine token, whose person is looked up in the very transaction of the work.

    ``with authorized() as (session, actor):`` commits at the end of the block, or rolls back. Not a
    yield-dependency: its start, its end and the route would each wait for a thread of their own.
    """

    def __init__(self, sessions: sessionmaker[Session], claims: tokens.Claims, request: Request) -> None:
        self.sessions = sessions
        self.claims = claims
        self.request = request
        self._afterwards: list[Callable[[], object]] = []

    @contextmanager
    def __call__(self) -> Iterator[tuple[Session, Actor]]:
        with self.sessions() as session:
            yield session, self.identify(session)
            session.commit()
        self.committed()

    def identify(self, session: Session) -> Actor:
        return resolve(session, self.claims).actor

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


async def _authorized(request: Request, token: Annotated[str | None, Depends(bearer)]) -> Authorized:
    """No I/O: whoever sends no genuine token never reaches the database."""
    if token is None:
        raise NotAuthenticated
    state = request.app.state
    return Authorized(state.sessions, tokens.read(state.settings, tokens.Kind.ACCESS, token), request)


def now() -> datetime:
    return datetime.now(UTC)


SettingsOf = Annotated[Settings, Depends(_settings)]
Sessions = Annotated[sessionmaker[Session], Depends(_sessions)]
LiveOf = Annotated[Live, Depends(_live)]
AuthorizedCall = Annotated[Authorized, Depends(_authorized)]
