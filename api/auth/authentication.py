"""Resolve a token to its actor, a user or an integration, for REST and WebSockets alike."""

from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from api.auth import tokens
from core import random_tokens
from core.access.actors import Actor
from core.accounts import api_tokens, sign_in
from core.database import row_security
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
    if token.startswith(api_tokens.PREFIX) and len(token) <= MAXIMUM_API_TOKEN:
        return ApiKey(random_tokens.digest(token))
    return tokens.read(settings, tokens.TokenKind.ACCESS, token)


def enter(session: Session, credential: Credential, now: datetime) -> Authenticated:
    """Check that the user is active or the API token exists, and apply its tenant's RLS policy.

    Raises `NotAuthenticated`.
    """
    if isinstance(credential, ApiKey):
        holder = api_tokens.holder_of(session, credential.token_hash, now)
        row_security.enter(session, holder.actor.company_id)
        return Authenticated(holder.actor, holder.expires_at, holder.is_use_due)
    actor = sign_in.enter(session, credential.user_id, credential.epoch, credential.session_id)
    return Authenticated(actor, credential.expires_at)


def note_use(session: Session, who: Authenticated, now: datetime) -> None:
    """Record an API token's last use, at most once per minute, in the transaction of the work."""
    if who.is_use_due and who.actor.api_token_id is not None:
        api_tokens.note_use(session, who.actor.api_token_id, now)
