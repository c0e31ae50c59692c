"""From a token to the person who sent it: for REST and WebSockets alike."""

from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from api import tokens
from core import users
from core.actors import Actor
from core.settings import Settings


class Authenticated(msgspec.Struct, frozen=True):
    """Who asks, and until when its token holds."""

    actor: Actor
    user_id: int
    expires_at: datetime


def authenticate(session: Session, settings: Settings, token: str) -> Authenticated:
    """Check an access token and its user: one query. Raises `NotAuthenticated`, the same for every cause."""
    return resolve(session, tokens.read(settings, tokens.Kind.ACCESS, token))


def resolve(session: Session, claims: tokens.Claims) -> Authenticated:
    """The second half of `authenticate`: that the user is neither disabled nor locked out since."""
    actor = users.actor_of(session, claims.user_id, claims.epoch)
    return Authenticated(actor, claims.user_id, claims.expires_at)
