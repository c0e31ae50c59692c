"""How often somebody may try to log in: counted in PostgreSQL, so that it holds over all workers.

An attempt is counted before it is checked, under its row's lock, so a hundred at once get no further than a
hundred in turn; success takes it back. A window begins with its first attempt and is not prolonged by more,
so nobody can lock a person out for ever. Keys are hashes: a form may hold anything of any length.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import CursorResult, case, delete, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.account import LoginAttempt
from core.rules.text.spelling import comparable_email

WINDOW = timedelta(minutes=15)
FAILURES_PER_EMAIL = 10
RESETS_PER_EMAIL = 3
_ENOUGH = 1_000_000


class Limit(msgspec.Struct, frozen=True):
    """``attempts`` of one key in a window."""

    key: bytes
    attempts: int
    is_of_address: bool = False


def email_limit(email: str, attempts: int = FAILURES_PER_EMAIL, purpose: str = "login") -> Limit:
    """The same for known and unknown e-mails, however they are written."""
    return Limit(_key(f"{purpose} email", comparable_email(email)), attempts)


def address_limit(address: str, attempts: int, purpose: str = "login") -> Limit:
    """Of the peer itself: X-Forwarded-For is whatever a client says."""
    return Limit(_key(f"{purpose} address", address), attempts, is_of_address=True)


def take(session: Session, limits: Sequence[Limit], now: datetime) -> int:
    """Count an attempt against each limit. Gives the whole seconds to wait; 0: go on.

    An address that is blocked adds no rows: its attempts are not counted against e-mails any more.
    """
    for limit in sorted(limits, key=_order):
        attempts, since = _count(session, limit.key, now)
        if attempts > limit.attempts:
            return max(1, int((since + WINDOW - now).total_seconds()) + 1)
    return 0


def _order(limit: Limit) -> tuple[bool, bytes]:
    """One for all: two attempts that share both keys cannot wait for each other. Addresses come first."""
    return not limit.is_of_address, limit.key


def forgive(session: Session, email: Limit, others: Sequence[Limit]) -> None:
    """It was no failure: the e-mail starts anew, the others take this one attempt back."""
    for limit in sorted([email, *others], key=_order):
        if limit is email:
            session.execute(delete(LoginAttempt).where(LoginAttempt.key == limit.key))
        else:
            session.execute(
                update(LoginAttempt)
                .where(LoginAttempt.key == limit.key, LoginAttempt.attempts > 0)
                .values(attempts=LoginAttempt.attempts - 1)
            )


def clean(session: Session, now: datetime) -> int:
    """Delete windows that have passed."""
    gone = session.execute(delete(LoginAttempt).where(LoginAttempt.window_started_at <= now - WINDOW))
    assert isinstance(gone, CursorResult)
    return gone.rowcount


def _count(session: Session, key: bytes, now: datetime) -> tuple[int, datetime]:
    has_passed = LoginAttempt.window_started_at <= now - WINDOW
    counted = session.execute(
        insert(LoginAttempt)
        .values(key=key, attempts=1, window_started_at=now)
        .on_conflict_do_update(
            index_elements=[LoginAttempt.key],
            set_={
                "attempts": case((has_passed, 1), else_=func.least(LoginAttempt.attempts + 1, _ENOUGH)),
                "window_started_at": case((has_passed, now), else_=LoginAttempt.window_started_at),
            },
        )
        .returning(LoginAttempt.attempts, LoginAttempt.window_started_at)
    ).one()
    return counted.attempts, counted.window_started_at


def _key(what: str, value: str) -> bytes:
    return hashlib.sha256(f"{what}\n{value}".encode("utf-8", "surrogatepass")).digest()
