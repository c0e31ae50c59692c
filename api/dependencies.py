"""What routes ask for. A route's work is one transaction in one thread, committed before its answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session, sessionmaker

from api import tokens
from api.authentication import resolve
from api.live import Live
from core import isolation
from core.actors import Actor
from core.errors import NotAuthenticated
from core.settings import Settings

bearer = OAuth2PasswordBearer(tokenUrl="/auth/token", refreshUrl="/auth/refresh", auto_error=False)


class Authorized:
    """A genuine token, whose person is looked up in the very transaction of the work.

    ``with authorized() as (session, actor):`` commits at the end of the block, or rolls back. Not a
    yield-dependency: its start, its end and the route would each wait for a thread of their own.
    """

    def __init__(self, sessions: sessionmaker[Session], claims: tokens.Claims) -> None:
        self._sessions = sessions
        self._claims = claims

    @contextmanager
    def __call__(self) -> Iterator[tuple[Session, Actor]]:
        with self._sessions() as session:
            actor = resolve(session, self._claims).actor  # as the owner: a user is looked up in any company
            isolation.enter(session, actor.company_id)
            yield session, actor
            session.commit()


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
    return Authorized(state.sessions, tokens.read(state.settings, tokens.Kind.ACCESS, token))


def now() -> datetime:
    return datetime.now(UTC)


SettingsOf = Annotated[Settings, Depends(_settings)]
Sessions = Annotated[sessionmaker[Session], Depends(_sessions)]
LiveOf = Annotated[Live, Depends(_live)]
AuthorizedCall = Annotated[Authorized, Depends(_authorized)]
