"""Resolve a token to its actor, a user or an integration, for REST and WebSockets alike."""

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
    """Text that looks like an API token; only the database knows whether it is valid."""

    token_hash: bytes


Credential = tokens.Claims | ApiKey


class Authenticated(msgspec.Struct, frozen=True):
    """The actor, and when its token expires; None: it is valid until it is revoked."""

    actor: Actor
    expires_at: datetime | None
    is_use_due: bool = False


def credential_of(settings: Settings, token: str) -> Credential:
    """Parse a token without I/O. Raises `NotAuthenticated`, the same for every cause."""
    if api_tokens.is_api_token(token) and len(token) <= MAXIMUM_API_TOKEN:
        return ApiKey(random_tokens.digest(token))
    return tokens.read(settings, tokens.TokenKind.ACCESS, token)


def resolve(session: Session, credential: Credential, now: datetime) -> Authenticated:
    """Check in one query that the user is still active or the API token exists. Raises `NotAuthenticated`."""
    if isinstance(credential, ApiKey):
        holder = api_tokens.holder_of(session, credential.token_hash, now)
        return Authenticated(holder.actor, holder.expires_at, holder.is_use_due)
    actor = sign_in.actor_of(session, credential.user_id, credential.epoch, credential.session_id)
    return Authenticated(actor, credential.expires_at)


def note_use(session: Session, who: Authenticated, now: datetime) -> None:
    """Record an API token's last use, at most once per minute, in the transaction of the work."""
    if who.is_use_due and who.actor.api_token_id is not None:
        api_tokens.note_use(session, who.actor.api_token_id, now)


def authenticate(session: Session, settings: Settings, token: str) -> Authenticated:
    """Parse and resolve a token. Raises `NotAuthenticated`."""
    return resolve(session, credential_of(settings, token), datetime.now(UTC))
