"""Rate limits for log-ins, counted in PostgreSQL so that they hold across all workers.

An attempt is counted before it is checked, under its row's lock, so that a hundred concurrent attempts get no
further than a hundred in sequence; a success takes its count back. A window begins with its first attempt and
later ones do not prolong it, so that an attacker cannot lock a user out for ever. Keys are hashes, since the
input may hold anything of any length.
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
    """The maximum ``attempts`` per key and window."""

    key: bytes
    attempts: int
    is_of_address: bool = False


def email_limit(email: str, attempts: int = FAILURES_PER_EMAIL, purpose: str = "login") -> Limit:
    """Return the limit per e-mail address, known or unknown, regardless of its spelling."""
    return Limit(_key(f"{purpose} email", comparable_email(email)), attempts)


def address_limits(address: str, attempts: int, purpose: str = "login") -> list[Limit]:
    """Return the limit per peer address; none if ``attempts`` is 0.

    X-Forwarded-For is not used, because a client can forge it.
    """
    return [Limit(_key(f"{purpose} address", address), attempts, is_of_address=True)] if attempts else []


def take(session: Session, limits: Sequence[Limit], now: datetime) -> int:
    """Count an attempt against each limit. Return the seconds to wait, rounded up; 0 when allowed.

    A blocked address adds no rows: its attempts are no longer counted against e-mail addresses.
    """
    for limit in sorted(limits, key=_order):
        attempts, since = _count(session, limit.key, now)
        if attempts > limit.attempts:
            return max(1, int((since + WINDOW - now).total_seconds()) + 1)
    return 0


def _order(limit: Limit) -> tuple[bool, bytes]:
    """Sort all attempts alike, so that two with both keys in common cannot deadlock. Addresses come first."""
    return not limit.is_of_address, limit.key


def forgive(session: Session, email: Limit, others: Sequence[Limit]) -> None:
    """Take back a successful attempt: reset the e-mail's counter and decrement the others."""
    for limit in sorted([email, *others], key=_order):
        if limit is email:
            session.execute(delete(LoginAttempt).where(LoginAttempt.key == limit.key))
        else:
            session.execute(
                update(LoginAttempt)
                .where(LoginAttempt.key == limit.key, LoginAttempt.attempts > 0)
                .values(attempts=LoginAttempt.attempts - 1)
            )


def purge_old_attempts(session: Session, now: datetime) -> int:
    """Purge windows that have passed."""
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
