"""Links to set a password: a random token, stored as a hash, that works once and only for a while.

A link somebody asked for by e-mail is owed: its row has no token until whoever sends the mail takes it, so
that no token ever lies in the database. Taking is a lease: who dies while sending leaves a link that is owed
again when it ends, with a new token; a mail that did go out then holds one that works no more.
"""

import enum
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, CursorResult, Update, delete, exists, func, select, update
from sqlalchemy.orm import Session

from core import random_tokens
from core.models.account import UserLink
from core.models.people import AppUser

PREFIX = "mpl_"
KEPT = timedelta(days=30)
SEND_LEASE = timedelta(minutes=2)
LONGEST_ERROR = 500


class LinkKind(enum.StrEnum):
    INVITATION = "invitation"
    RESET = "reset"


LIFETIMES = {LinkKind.INVITATION: timedelta(days=7), LinkKind.RESET: timedelta(hours=24)}


class IssuedLink(msgspec.Struct, frozen=True):
    """The token is told once: here."""

    token: str
    expires_at: datetime


class OwedLink(msgspec.Struct, frozen=True):
    """A link to be sent to ``email``."""

    link_id: int
    attempt: int
    user_id: int
    email: str
    link: IssuedLink


def make(session: Session, user: AppUser, kind: LinkKind, now: datetime) -> IssuedLink:
    """A new link, which takes the place of older ones of its kind that are still open."""
    session.execute(
        update(UserLink)
        .where(
            UserLink.user_id == user.id,
            UserLink.kind == kind,
            UserLink.used_at.is_(None),
            UserLink.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    token = random_tokens.make(PREFIX)
    link = _row(user.company_id, user.id, kind, now)
    link.token_hash = random_tokens.digest(token)
    session.add(link)
    return IssuedLink(token, link.expires_at)


def owe_reset(session: Session, company_id: int, user_id: int, now: datetime) -> None:
    """One at a time; a link that a manager made stays valid beside it, for anybody may ask for this one."""
    is_owed = exists().where(UserLink.user_id == user_id, *_is_owed(now))
    if not session.scalar(select(is_owed)):
        row = _row(company_id, user_id, LinkKind.RESET, now)
        row.send_at = now
        session.add(row)


def take_owed(session: Session, now: datetime, limit: int = 100) -> list[OwedLink]:
    """Give owed links their tokens, for sending; several senders at once get different ones.

    Each is to be followed by `sent` or `not_sent`.
    """
    rows = session.execute(
        select(UserLink, AppUser.email)
        .join(AppUser, AppUser.id == UserLink.user_id)
        .where(*_is_owed(now), UserLink.send_at <= now, AppUser.disabled_at.is_(None))
        .order_by(UserLink.send_at)
        .limit(limit)
        .with_for_update(of=UserLink, key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    owed = []
    for row, email in rows:
        token = random_tokens.make(PREFIX)
        row.token_hash = random_tokens.digest(token)
        row.send_at = now + SEND_LEASE
        row.send_attempts += 1
        link = IssuedLink(token, row.expires_at)
        owed.append(OwedLink(row.id, row.send_attempts, row.user_id, email, link))
    return owed


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether `take_owed` may find one."""
    due = exists().where(*_is_owed(now), UserLink.send_at <= now)
    return bool(session.scalar(select(due)))


def note_waiting(session: Session, reason: str, now: datetime) -> int:
    """Why no owed link is sent just now."""
    waiting = session.execute(
        update(UserLink)
        .where(*_is_owed(now), UserLink.send_error.is_distinct_from(reason))
        .values(send_error=reason)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(waiting, CursorResult)
    return waiting.rowcount


def sent(session: Session, owed: OwedLink) -> None:
    """It is owed no more."""
    session.execute(_taken(owed).values(send_at=None, send_error=None))


def not_sent(session: Session, owed: OwedLink, error: str, again_at: datetime | None) -> None:
    """Owed again from ``again_at`` on, or with None given up: then its token is worth nothing."""
    ended = {"revoked_at": func.now()} if again_at is None else {}
    values = {"token_hash": None, "send_at": again_at, "send_error": error[:LONGEST_ERROR]}
    session.execute(_taken(owed).values(**values, **ended))


def _taken(owed: OwedLink) -> Update:
    """Unless its lease was over and another has taken it."""
    return update(UserLink).where(UserLink.id == owed.link_id, UserLink.send_attempts == owed.attempt)


def _is_owed(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        UserLink.send_at.is_not(None),
        UserLink.used_at.is_(None),
        UserLink.revoked_at.is_(None),
        UserLink.expires_at > now,
    )


def user_of(session: Session, token: str, now: datetime) -> int | None:
    """Whose open link this is."""
    return session.scalar(select(UserLink.user_id).where(*_is_open(token, now)))


def use(session: Session, token: str, now: datetime) -> bool:
    """Whether this was the one use. The caller holds its user's lock."""
    used = session.execute(
        update(UserLink).where(*_is_open(token, now)).values(used_at=now).returning(UserLink.id)
    )
    return used.one_or_none() is not None


def revoke_all(session: Session, user_id: int, now: datetime) -> None:
    session.execute(
        update(UserLink)
        .where(UserLink.user_id == user_id, UserLink.used_at.is_(None), UserLink.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def clean(session: Session, now: datetime) -> int:
    gone = session.execute(delete(UserLink).where(UserLink.expires_at < now - KEPT))
    assert isinstance(gone, CursorResult)
    return gone.rowcount


def _is_open(token: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        UserLink.token_hash == random_tokens.digest(token),
        UserLink.used_at.is_(None),
        UserLink.revoked_at.is_(None),
        UserLink.expires_at > now,
    )


def _row(company_id: int, user_id: int, kind: LinkKind, now: datetime) -> UserLink:
    return UserLink(
        company_id=company_id, user_id=user_id, kind=kind, expires_at=now + LIFETIMES[kind], created_at=now
    )
