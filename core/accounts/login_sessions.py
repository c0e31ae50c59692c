"""Log-ins and their refresh tokens. A refresh token works once; each use moves its session one generation on.

A token of the generation before works for a few seconds more, for a client whose answer was lost: it gets a
token of the present generation, of which then only the first one used lives on. Any older one was stolen, or
is being used by whom it was stolen from: the whole session ends, its access tokens with it.
"""

import enum
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from core import random_tokens
from core.access.actors import Actor
from core.models.account import LoginSession, RefreshToken
from core.models.people import AppUser
from core.records import audit

PREFIX = "mpr_"
GRACE = timedelta(seconds=10)
USED_KEPT = timedelta(days=30)


class Ending(enum.StrEnum):
    """Why a session ended."""

    LOGGED_OUT = "logged_out"
    REUSED = "reused"
    PASSWORD = "password"  # noqa: S105  # a reason, no secret
    DISABLED = "disabled"


class Begun(msgspec.Struct, frozen=True):
    """What access tokens are made of, and the refresh token: it is stored as a hash, so it is told once."""

    user_id: int
    token_epoch: int
    session_id: int
    refresh_token: str


def begin(
    session: Session, user_id: int, token_epoch: int, lifetime: timedelta, now: datetime
) -> Begun | None:
    """A new session; None when the user was disabled or got another password since it was read."""
    # Locked, so that a session cannot begin beside the end of all.
    company_id = session.scalar(
        select(AppUser.company_id)
        .where(AppUser.id == user_id, AppUser.token_epoch == token_epoch, AppUser.disabled_at.is_(None))
        .with_for_update(read=True)
    )
    if company_id is None:
        return None
    begun = LoginSession(
        company_id=company_id, user_id=user_id, generation=0, rotated_at=now, expires_at=now + lifetime
    )
    session.add(begun)
    session.flush()
    token = _issue(session, company_id, begun.id, 0, now)
    audit.note_user(session, "logged_in", company_id=company_id, user_id=user_id, by_user=True)
    return Begun(user_id, token_epoch, begun.id, token)


def renew(session: Session, token: str, lifetime: timedelta, now: datetime) -> Begun | None:
    """The next generation. None when the token is not valid; commit then too: a reuse ends its session."""
    token_hash = random_tokens.digest(token)
    row = session.execute(
        select(LoginSession, RefreshToken.generation, AppUser.token_epoch)
        .join(RefreshToken, RefreshToken.session_id == LoginSession.id)
        .join(AppUser, AppUser.id == LoginSession.user_id)
        .where(
            RefreshToken.token_hash == token_hash,
            LoginSession.ended_at.is_(None),
            LoginSession.expires_at > now,
            AppUser.disabled_at.is_(None),
        )
        .with_for_update(of=LoginSession, key_share=True)
    ).one_or_none()
    if row is None:
        return None
    present, generation, epoch = row
    if generation == present.generation:
        _move_on(session, present, token_hash, lifetime, now)
    elif generation < present.generation - 1 or now - present.rotated_at > GRACE:
        _end_reused(session, present, now)
        return None
    refresh_token = _issue(session, present.company_id, present.id, present.generation, now)
    return Begun(present.user_id, epoch, present.id, refresh_token)


def _move_on(
    session: Session, present: LoginSession, token_hash: bytes, lifetime: timedelta, now: datetime
) -> None:
    present.generation += 1
    present.rotated_at = now
    present.expires_at = now + lifetime
    session.execute(update(RefreshToken).where(RefreshToken.token_hash == token_hash).values(used_at=now))


def _end_reused(session: Session, present: LoginSession, now: datetime) -> None:
    present.ended_at = now
    present.ended_by = Ending.REUSED
    audit.note_user(session, "refresh_token_reused", company_id=present.company_id, user_id=present.user_id)


def _issue(session: Session, company_id: int, session_id: int, generation: int, now: datetime) -> str:
    token = random_tokens.make(PREFIX)
    session.add(
        RefreshToken(
            token_hash=random_tokens.digest(token),
            company_id=company_id,
            session_id=session_id,
            generation=generation,
            issued_at=now,
        )
    )
    return token


def end(session: Session, actor: Actor, now: datetime) -> None:
    """Log out: this session only."""
    session.execute(
        update(LoginSession)
        .where(LoginSession.id == actor.session_id, LoginSession.ended_at.is_(None))
        .values(ended_at=now, ended_by=Ending.LOGGED_OUT)
    )
    audit.note_user(session, "logged_out", company_id=actor.company_id, user_id=actor.user_id, by_user=True)


def end_all(session: Session, user_id: int, ending: Ending, now: datetime) -> None:
    """Every session of a person. Access tokens without one end with the person's token epoch."""
    session.execute(
        update(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.ended_at.is_(None))
        .values(ended_at=now, ended_by=ending)
    )


def clean(session: Session, now: datetime) -> int:
    """Delete sessions that expired and tokens used long ago: such a token is merely unknown from then on."""
    sessions = session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
    tokens = session.execute(delete(RefreshToken).where(RefreshToken.used_at < now - USED_KEPT))
    assert isinstance(sessions, CursorResult)
    assert isinstance(tokens, CursorResult)
    return sessions.rowcount + tokens.rowcount
