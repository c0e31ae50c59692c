"""From a token to who sent it, a person or an integration: for REST and WebSockets alike."""

from datetime import UTC, datetime

import msgspec
from sqlalchemy.orm import Session

from api.auth import tokens
from core import random_tokens
from core.access.actors import Actor
from core.accounts import api_tokens, sign_in
from core.settings import Settings

MAXIMUM_API_TOKEN = 100


class ApiKey(msgspec.Struct, frozen=True):
    """What looks like an API token; the database knows whether it is one."""

    token_hash: bytes


Credential = tokens.Claims | ApiKey


class Authenticated(msgspec.Struct, frozen=True):
    """Who asks, and until when the token holds; None: until it is revoked."""

    actor: Actor
    expires_at: datetime | None
    is_use_due: bool = False


def credential_of(settings: Settings, token: str) -> Credential:
    """Without I/O. Raises `NotAuthenticated`, the same for every cause."""
    if api_tokens.is_api_token(token) and len(token) <= MAXIMUM_API_TOKEN:
        return ApiKey(random_tokens.digest(token))
    return tokens.read(settings, tokens.TokenKind.ACCESS, token)


def resolve(session: Session, credential: Credential, now: datetime) -> Authenticated:
    """In one query: that the person may still, or that the API token exists. Raises `NotAuthenticated`."""
    if isinstance(credential, ApiKey):
        holder = api_tokens.holder_of(session, credential.token_hash, now)
        return Authenticated(holder.actor, holder.expires_at, holder.is_use_due)
    actor = sign_in.actor_of(session, credential.user_id, credential.epoch, credential.session_id)
    return Authenticated(actor, credential.expires_at)


def note_use(session: Session, who: Authenticated, now: datetime) -> None:
    """When an API token was used last: once a minute, with the work it was used for."""
    if who.is_use_due and who.actor.api_token_id is not None:
        api_tokens.note_use(session, who.actor.api_token_id, now)


def authenticate(session: Session, settings: Settings, token: str) -> Authenticated:
    """Both at once. Raises `NotAuthenticated`."""
    return resolve(session, credential_of(settings, token), datetime.now(UTC))
