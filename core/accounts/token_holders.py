"""Check whether the tokens that opened sockets are still valid."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

import msgspec
from sqlalchemy import ARRAY, BigInteger, any_, literal, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.database.ids import is_any_of
from core.models.account import ApiToken, LoginSession
from core.models.people import AppUser
from core.rules.enums import Role


class Person(msgspec.Struct, frozen=True):
    """The fields that a socket's access depends on; when one changes, the user must log in again."""

    company_id: int
    role: Role
    driver_id: int | None
    customer_id: int | None
    token_epoch: int
    disabled_at: datetime | None


class TokenHolder(msgspec.Struct, frozen=True):
    """The holder of the token that opened a socket: a user, perhaps with a session, or an integration."""

    user_id: int | None
    session_id: int | None = None
    api_token_id: int | None = None

    @classmethod
    def of(cls, actor: Actor) -> Self:
        return cls(actor.user_id, actor.session_id, actor.api_token_id)


def people(session: Session, holders: Iterable[TokenHolder]) -> dict[TokenHolder, Person]:
    """Return the holders whose tokens are still valid, without ended sessions and revoked API tokens."""
    asked = set(holders)
    users = _users(session, {h.user_id for h in asked if h.user_id is not None})
    standing = _sessions(session, {h.session_id for h in asked if h.session_id is not None})
    tokens = _tokens(session, {h.api_token_id for h in asked if h.api_token_id is not None})
    found = {}
    for holder in asked:
        person = tokens.get(holder.api_token_id or 0) or users.get(holder.user_id or 0)
        if person is not None and (holder.session_id is None or holder.session_id in standing):
            found[holder] = person
    return found


def _sessions(session: Session, session_ids: set[int]) -> set[int]:
    if not session_ids:
        return set()
    ids = any_(literal(list(session_ids), ARRAY(BigInteger)))
    query = select(LoginSession.id).where(LoginSession.id == ids, LoginSession.ended_at.is_(None))
    return set(session.scalars(query))


def _tokens(session: Session, token_ids: set[int]) -> dict[int, Person]:
    if not token_ids:
        return {}
    query = select(ApiToken.id, ApiToken.company_id)
    rows = session.execute(query.where(is_any_of(ApiToken.id, token_ids), ApiToken.revoked_at.is_(None)))
    return {row.id: Person(row.company_id, Role.MANAGER, None, None, 0, None) for row in rows}


def _users(session: Session, user_ids: Iterable[int]) -> dict[int, Person]:
    rows = session.execute(
        select(
            AppUser.id,
            AppUser.company_id,
            AppUser.role,
            AppUser.driver_id,
            AppUser.customer_id,
            AppUser.token_epoch,
            AppUser.disabled_at,
        ).where(is_any_of(AppUser.id, user_ids))
    )
    return {row.id: Person(*row[1:]) for row in rows}
