"""Links to set a password: a random token, stored as a hash, that works once and for a limited time.

A link requested by e-mail is owed: its row has no token until a sender takes it, so that no token is ever
stored in the database. Taking is a lease: if the sender dies, the link is owed again when the lease ends, and
gets a new token; an e-mail message that did go out then holds a token that no longer works.
"""

import enum
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, CursorResult, Update, delete, exists, func, select, update
from sqlalchemy.orm import Session

from core import random_tokens
from core.models.account import UserLink
from core.models.people import AppUser
from core.request_ids import CURRENT

PREFIX = "mpl_"
KEPT = timedelta(days=30)
SEND_LEASE = timedelta(minutes=2)
LONGEST_ERROR = 500


class LinkKind(enum.StrEnum):
    INVITATION = "invitation"
    RESET = "reset"


LIFETIMES = {LinkKind.INVITATION: timedelta(days=7), LinkKind.RESET: timedelta(hours=24)}


class IssuedLink(msgspec.Struct, frozen=True):
    """A new link. Its token is returned only here."""

    token: str
    expires_at: datetime


class OwedLink(msgspec.Struct, frozen=True):
    """A link to be sent to ``email``."""

    link_id: int
    attempt: int
    user_id: int
    email: str
    link: IssuedLink
    request_id: str | None = None


def make(session: Session, user: AppUser, kind: LinkKind, now: datetime) -> IssuedLink:
    """Make a link and revoke the user's older open links of this kind."""
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
    """Queue a reset link unless one is owed. A manager's link stays valid: anyone may request this one."""
    is_owed = exists().where(UserLink.user_id == user_id, *_is_owed(now))
    if not session.scalar(select(is_owed)):
        row = _row(company_id, user_id, LinkKind.RESET, now)
        row.send_at = now
        session.add(row)


def take_owed(session: Session, now: datetime, limit: int = 100) -> list[OwedLink]:
    """Give owed links their tokens for sending; concurrent senders get different links.

    The caller follows each with `sent` or `not_sent`.
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
        owed.append(OwedLink(row.id, row.send_attempts, row.user_id, email, link, row.request_id))
    return owed


def is_any_due(session: Session, now: datetime) -> bool:
    """Return whether `take_owed` may find a link."""
    due = exists().where(*_is_owed(now), UserLink.send_at <= now)
    return bool(session.scalar(select(due)))


def note_waiting(session: Session, reason: str, now: datetime) -> int:
    """Store the reason why no owed link is being sent; return how many links it changed."""
    waiting = session.execute(
        update(UserLink)
        .where(*_is_owed(now), UserLink.send_error.is_distinct_from(reason))
        .values(send_error=reason)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(waiting, CursorResult)
    return waiting.rowcount


def sent(session: Session, owed: OwedLink) -> None:
    """Mark the link as sent: it is no longer owed."""
    session.execute(_taken(owed).values(send_at=None, send_error=None))


def not_sent(session: Session, owed: OwedLink, error: str, again_at: datetime | None) -> None:
    """Return the link to the queue from ``again_at`` on, or give up (None). Its token becomes invalid."""
    ended = {"revoked_at": func.now()} if again_at is None else {}
    values = {"token_hash": None, "send_at": again_at, "send_error": error[:LONGEST_ERROR]}
    session.execute(_taken(owed).values(**values, **ended))


def _taken(owed: OwedLink) -> Update:
    """Update the link only if this sender still holds the lease and no other sender has taken it."""
    return update(UserLink).where(UserLink.id == owed.link_id, UserLink.send_attempts == owed.attempt)


def _is_owed(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        UserLink.send_at.is_not(None),
        UserLink.used_at.is_(None),
        UserLink.revoked_at.is_(None),
        UserLink.expires_at > now,
    )


def user_of(session: Session, token: str, now: datetime) -> int | None:
    """Return the id of the user with this open link, or None."""
    return session.scalar(select(UserLink.user_id).where(*_is_open(token, now)))


def use(session: Session, token: str, now: datetime) -> bool:
    """Use up the link; return False if it was no longer open. The caller holds the user's row lock."""
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


def purge_ended(session: Session, now: datetime) -> int:
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
        company_id=company_id,
        user_id=user_id,
        kind=kind,
        expires_at=now + LIFETIMES[kind],
        created_at=now,
        request_id=CURRENT.get(),
    )
