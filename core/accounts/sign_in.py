"""Authenticate a user: find the user behind an e-mail address, and the actor behind a token."""

from typing import Any

import msgspec
from sqlalchemy import Select, and_, bindparam, literal_column, select, update
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.database import row_security
from core.database.prepared import Prepared
from core.errors import NotAuthenticated
from core.models.account import LoginSession
from core.models.company import Company
from core.models.people import AppUser
from core.records import audit
from core.rules.enums import Role
from core.rules.text import emails
from core.rules.text.spelling import email_spellings

# Built once: every request runs it, and building it costs as much as running it.
_ACTOR: Select[*tuple[Any, ...]] = (
    select(
        AppUser.company_id,
        Company.slug,
        AppUser.role,
        AppUser.driver_id,
        AppUser.customer_id,
        # In the same statement, because each round trip costs more than most statements.
        literal_column(row_security.entering("app_user.company_id")),
    )
    .join(Company, Company.id == AppUser.company_id)
    .where(
        AppUser.id == bindparam("user_id"),
        AppUser.token_epoch == bindparam("token_epoch"),
        AppUser.disabled_at.is_(None),
    )
)
_IN_SESSION = and_(
    LoginSession.id == bindparam("session_id"),
    LoginSession.user_id == AppUser.id,
    LoginSession.ended_at.is_(None),
)
ACTOR = Prepared("actor", _ACTOR)
ACTOR_IN_SESSION = Prepared("actor_in_session", _ACTOR.join(LoginSession, _IN_SESSION))
MAXIMUM_SESSION = 2**63 - 1


class PasswordLogin(msgspec.Struct, frozen=True):
    """The facts that a log-in is checked against. A disabled user's password is verified, then refused.

    ``password_hash`` is None for an invited user who has not set one yet.
    """

    user_id: int
    company_id: int
    password_hash: str | None
    token_epoch: int
    is_disabled: bool


def login_of(session: Session, email: str) -> PasswordLogin | None:
    """Return the user with this e-mail address in any company, or None."""
    # Not `clean_email`: a user of an earlier version may have an address that is refused today.
    if len(email.strip()) > emails.MAXIMUM_LENGTH or not _is_storable(email):
        return None
    spellings = email_spellings(email)
    rows = session.execute(
        select(
            AppUser.email,
            AppUser.id,
            AppUser.company_id,
            AppUser.password_hash,
            AppUser.token_epoch,
            AppUser.disabled_at.is_not(None),
        ).where(AppUser.email.in_(spellings))
    ).all()
    # 0.1.0 allowed two addresses that differ only in spelling: each is still found as it was typed then.
    typed = email.strip().lower()
    found = sorted(rows, key=lambda row: (row[0] != typed, spellings.index(row[0])))
    return PasswordLogin(*found[0][1:]) if found else None


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def note_failed_login(session: Session, login: PasswordLogin | None) -> None:
    """Write an audit entry, without a company when no user has the e-mail address."""
    company_id, user_id = (login.company_id, login.user_id) if login else (None, None)
    audit.note_user(session, "login_failed", company_id=company_id, user_id=user_id)


def enter(session: Session, user_id: int, token_epoch: int, session_id: int | None = None) -> Actor:
    """Return a token's actor, and place the session under its tenant's row-level security (RLS) policy.

    A token of a session ends with that session; a token without one is valid until it expires or its epoch
    ends. Raises `NotAuthenticated` when the user is disabled or deleted, or the token is of an older epoch.
    """
    if not (0 < user_id <= scoping.MAXIMUM_ID and 0 < token_epoch <= scoping.MAXIMUM_ID):
        raise NotAuthenticated
    known = {"user_id": user_id, "token_epoch": token_epoch}
    if session_id is None:
        rows = ACTOR.run(session, **known)
    elif 0 < session_id <= MAXIMUM_SESSION:
        rows = ACTOR_IN_SESSION.run(session, **known, session_id=session_id)
    else:
        rows = []
    if not rows:
        raise NotAuthenticated
    company_id, slug, role, driver_id, customer_id, *_entered = rows[0]
    row_security.entered(session, company_id)
    return Actor(
        company_id=company_id,
        company_slug=slug,
        role=Role(role),
        user_id=user_id,
        driver_id=driver_id,
        customer_id=customer_id,
        session_id=session_id,
    )


def replace_hash(session: Session, user_id: int, old_hash: str, new_hash: str) -> None:
    """Store the same password rehashed at the present cost; tokens stay valid."""
    session.execute(
        update(AppUser)
        .where(AppUser.id == user_id, AppUser.password_hash == old_hash)
        .values(password_hash=new_hash)
    )
