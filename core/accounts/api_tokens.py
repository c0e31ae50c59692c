"""API tokens of integrations: they act as a manager of their company, limited by their scopes.

A token belongs to the company, not to the user who made it: an integration does not stop because a person
leaves. Managers see who made each token, and can revoke it.
"""

import enum
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from core import random_tokens
from core.access import scoping
from core.access.actors import Actor
from core.errors import InvalidValue, NotAuthenticated
from core.models.account import ApiToken
from core.models.company import Company
from core.records import audit
from core.rules.enums import Role

PREFIX = "mp_"
HINT_LENGTH = 4
USE_NOTED_EVERY = timedelta(minutes=1)


class Scope(enum.StrEnum):
    """The permissions of an integration. It can only read users, and cannot even read tokens."""

    DELIVERIES_READ = "deliveries:read"
    DELIVERIES_WRITE = "deliveries:write"
    LOCATION_WRITE = "location:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    LOADS_READ = "loads:read"
    LOADS_WRITE = "loads:write"
    FLEET_READ = "fleet:read"
    FLEET_WRITE = "fleet:write"
    PEOPLE_READ = "people:read"
    NOTIFICATIONS_READ = "notifications:read"
    NOTIFICATIONS_WRITE = "notifications:write"
    COMPANY_READ = "company:read"
    AUDIT_READ = "audit:read"
    REPORTS_READ = "reports:read"


class NewApiToken(msgspec.Struct, frozen=True, kw_only=True):
    """Without ``expires_at`` the token is valid until it is revoked."""

    name: str
    scopes: Collection[Scope]
    expires_at: datetime | None = None


class ApiTokenHolder(msgspec.Struct, frozen=True):
    """``is_use_due``: ``last_used_at`` has not been updated for a while."""

    actor: Actor
    expires_at: datetime | None
    is_use_due: bool


# Built once, like `core.accounts.sign_in.ACTOR`.
HOLDER = (
    select(
        ApiToken.id,
        ApiToken.company_id,
        ApiToken.scopes,
        ApiToken.expires_at,
        ApiToken.last_used_at,
        Company.slug,
    )
    .join(Company, Company.id == ApiToken.company_id)
    .where(
        ApiToken.token_hash == bindparam("token_hash"),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > bindparam("now")),
    )
)


def holder_of(session: Session, token_hash: bytes, now: datetime) -> ApiTokenHolder:
    """Return a token's holder, in one query. Raises `NotAuthenticated` if unknown, revoked or expired."""
    row = session.execute(HOLDER, {"token_hash": token_hash, "now": now}).one_or_none()
    if row is None:
        raise NotAuthenticated
    actor = Actor(
        company_id=row.company_id,
        company_slug=row.slug,
        role=Role.MANAGER,
        api_token_id=row.id,
        scopes=frozenset(row.scopes),
    )
    is_use_due = row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY
    return ApiTokenHolder(actor, row.expires_at, is_use_due)


def note_use(session: Session, token_id: int, now: datetime) -> None:
    """Update ``last_used_at``, unless another request is doing so: no request waits for this."""
    free = (
        select(ApiToken.id).where(ApiToken.id == token_id).with_for_update(skip_locked=True, key_share=True)
    )
    session.execute(
        update(ApiToken)
        .where(ApiToken.id.in_(free))
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[ApiToken]:
    """Return a page of tokens to a manager, including revoked and expired ones."""
    scoping.require_manager(actor)
    return scoping.page(session, actor, ApiToken, after=after, limit=limit)


def add(session: Session, actor: Actor, new: NewApiToken, now: datetime) -> tuple[ApiToken, str]:
    """Create a token. Return its row and the secret, which cannot be shown again."""
    scoping.require_manager(actor)
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidValue("expires_at", "must lie in the future")
    secret = random_tokens.make(PREFIX)
    row = ApiToken(
        company_id=actor.company_id,
        name=new.name,
        token_hash=random_tokens.digest(secret),
        hint=secret[-HINT_LENGTH:],
        scopes=sorted({scope.value for scope in new.scopes}),
        created_by=actor.user_id,
        expires_at=new.expires_at,
    )
    session.add(row)
    session.flush()
    audit.added(session, actor, row)
    return row, secret


def revoke(session: Session, actor: Actor, token_id: int, now: datetime) -> None:
    """Revoke a token from the next request on; its open sockets close within seconds."""
    row = scoping.lock(session, actor, ApiToken, token_id)
    if row.revoked_at is None:
        row.revoked_at = now
        audit.note(session, actor, "revoked", row)
