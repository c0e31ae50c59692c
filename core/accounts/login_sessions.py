"""Log-in sessions and their refresh tokens. A refresh token works once; each use starts a new generation.

A token of the previous generation works for a few more seconds, for a client that lost a response: it gets a
token of the present generation, and only the first of these to be used stays valid. Use of any older token
means that it was stolen, by this client or from it: the whole session ends, with its access tokens.
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
    """The facts an access token is made from, and the refresh token, which is stored only as a hash."""

    user_id: int
    token_epoch: int
    session_id: int
    refresh_token: str


def begin(
    session: Session, user_id: int, token_epoch: int, lifetime: timedelta, now: datetime
) -> Begun | None:
    """Begin a session; return None if the user was disabled or changed the password since it was read."""
    # The lock keeps a session from beginning while all of the user's sessions are being ended.
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
    """Issue the next token; None if ``token`` is invalid. Commit either way: reuse ends the session."""
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
    """Log out of this session only."""
    session.execute(
        update(LoginSession)
        .where(LoginSession.id == actor.session_id, LoginSession.ended_at.is_(None))
        .values(ended_at=now, ended_by=Ending.LOGGED_OUT)
    )
    audit.note_user(session, "logged_out", company_id=actor.company_id, user_id=actor.user_id, by_user=True)


def end_all(session: Session, user_id: int, ending: Ending, now: datetime) -> None:
    """End every session of a user. Access tokens without a session end with the user's token epoch."""
    session.execute(
        update(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.ended_at.is_(None))
        .values(ended_at=now, ended_by=ending)
    )


def purge_ended(session: Session, now: datetime) -> int:
    """Purge expired sessions and tokens used long ago; such a token is then treated as unknown."""
    sessions = session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
    tokens = session.execute(delete(RefreshToken).where(RefreshToken.used_at < now - USED_KEPT))
    assert isinstance(sessions, CursorResult)
    assert isinstance(tokens, CursorResult)
    return sessions.rowcount + tokens.rowcount
