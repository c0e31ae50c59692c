"""Claim due notifications; `jobs` does the network I/O, and `attempts` records its outcome.

A claim is a lease: it moves ``next_attempt_at`` beyond the longest duration of an attempt and records the
attempt before it begins. A sender that dies in between leaves an attempt without an end, and the notification
is claimed again when the lease is over: at-least-once delivery, with the same event id.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

LEASE = timedelta(minutes=2)
INTERRUPTED = "interrupted: its sender ended before it knew the answer"
TRIES = 5


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to be made now; ``sequence`` orders the notifications of one delivery."""

    sequence: int
    number: int
    company_id: int
    event: str
    event_id: uuid.UUID
    audience: str
    recipient: str | None
    webhook_id: int | None
    payload: dict[str, Any]
    created_at: datetime
    request_id: str | None = None


class CalledEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint as it is at a claim; ``company`` is the tenant's slug."""

    id: int
    url: str
    company: str
    secret_version: int
    previous_secret_until: datetime | None


class ClaimedCall(msgspec.Struct, frozen=True):
    claimed: Claimed
    endpoint: CalledEndpoint


_READY = "w.disabled_at IS NULL AND w.deleted_at IS NULL AND (w.retry_at IS NULL OR w.retry_at <= :now)"
_DUE = "n.state = 'queued' AND n.next_attempt_at <= :now AND n.expires_at > :now"
_OLDEST_FIRST = "ORDER BY n.next_attempt_at, n.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
# One statement: it picks the notification, starts its lease and records the attempt.
_CLAIM = """
WITH due AS (
  SELECT n.id, n.attempts, n.company_id, n.event, n.event_id, n.audience, n.recipient, n.webhook_id,
    n.payload, n.created_at, n.request_id
  FROM notification n WHERE {due} AND {whose} {oldest_first}
), leased AS (
  UPDATE notification n SET attempts = n.attempts + 1, next_attempt_at = :lease_until
  FROM due WHERE n.id = due.id
), interrupted AS (
  UPDATE notification_attempt a SET error = :interrupted
  FROM due WHERE a.notification_id = due.id AND a.finished_at IS NULL
), begun AS (
  INSERT INTO notification_attempt (company_id, notification_id, number, started_at)
  SELECT company_id, id, attempts + 1, :now FROM due
)
SELECT due.id AS sequence, due.attempts + 1 AS number, due.company_id, due.event, due.event_id, due.audience,
  due.recipient, due.webhook_id, due.payload, due.created_at,
  due.request_id{more} FROM due{joined}
"""
_READY_WEBHOOKS = text(
    "SELECT w.id, w.company_id FROM webhook w CROSS JOIN LATERAL ("  # noqa: S608  # of constants
    f" SELECT n.next_attempt_at FROM notification n WHERE n.webhook_id = w.id AND {_DUE}"
    f" ORDER BY n.next_attempt_at LIMIT 1) first WHERE {_READY}"
    " AND w.id <> ALL(:busy) ORDER BY first.next_attempt_at LIMIT :limit"
)
_CLAIM_CALL = text(
    _CLAIM.format(
        due=_DUE,
        whose=f"n.webhook_id = (SELECT w.id FROM webhook w WHERE w.id = :webhook_id AND {_READY})",  # noqa: S608
        oldest_first=_OLDEST_FIRST,
        more=", w.url, w.secret_version, w.previous_secret_until, c.slug",
        joined=" JOIN webhook w ON w.id = due.webhook_id JOIN company c ON c.id = due.company_id",
    )
)
# Round robin: the next company is that after the company served last.
_COMPANY_WITH_MAIL = text(
    "SELECT c.id FROM company c WHERE EXISTS ("  # noqa: S608  # of constants
    f" SELECT FROM notification n WHERE n.company_id = c.id AND n.webhook_id IS NULL AND {_DUE})"
    " ORDER BY c.id <= :after, c.id LIMIT 1"
)
_CLAIM_MAIL = text(
    _CLAIM.format(
        due=_DUE,
        whose="n.company_id = :company_id AND n.webhook_id IS NULL",
        oldest_first=_OLDEST_FIRST,
        more="",
        joined="",
    )
)


def ready_webhooks(
    session: Session, now: datetime, *, busy: Collection[int], limit: int
) -> list[tuple[int, int]]:
    """Return (webhook id, company id) of endpoints that are due and ready, except the ``busy`` ones."""
    values = {"now": now, "busy": list(busy), "limit": limit}
    return [(row.id, row.company_id) for row in session.execute(_READY_WEBHOOKS, values)]


def claim_call(session: Session, webhook_id: int, now: datetime) -> ClaimedCall | None:
    """Claim the oldest call due for this endpoint."""
    values = {"webhook_id": webhook_id, "now": now, "lease_until": now + LEASE, "interrupted": INTERRUPTED}
    row = session.execute(_CLAIM_CALL, values).one_or_none()
    if row is None:
        return None
    endpoint = CalledEndpoint(
        id=webhook_id,
        url=row.url,
        company=row.slug,
        secret_version=row.secret_version,
        previous_secret_until=row.previous_secret_until,
    )
    claimed = Claimed(**{name: row._mapping[name] for name in Claimed.__struct_fields__})
    return ClaimedCall(claimed, endpoint)


def is_mail_due(session: Session, now: datetime) -> bool:
    """Return whether any e-mail is due, so that connecting to the SMTP server is worthwhile."""
    return session.scalar(_COMPANY_WITH_MAIL, {"after": 0, "now": now}) is not None


def claim_mail(session: Session, now: datetime, *, after_company: int) -> Claimed | None:
    """Claim the oldest due e-mail of the next company that has one."""
    values = {"now": now, "lease_until": now + LEASE, "interrupted": INTERRUPTED}
    for _ in range(TRIES):  # another sender may have claimed a company's last e-mail in the meantime
        company_id = session.scalar(_COMPANY_WITH_MAIL, {"after": after_company, "now": now})
        if company_id is None:
            return None
        row = session.execute(_CLAIM_MAIL, values | {"company_id": company_id}).one_or_none()
        if row is not None:
            return Claimed(**row._mapping)
        after_company = company_id
    return None
