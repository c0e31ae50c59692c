"""Answers that are given once: a request with a key, and the answer it had, in one transaction.

Invariants: the key's row is the first lock a request takes, so that a twin waits there, holding nothing. The
row commits with the effect and the answer or not at all. A failed request leaves its key unused.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from core.access.actors import Actor
from core.database.errors import sqlstate
from core.errors import Conflict, DomainError
from core.models.record import Idempotency

KEPT_FOR = timedelta(hours=24)
LOCK_NOT_AVAILABLE = "55P03"
COLUMNS = (Idempotency.fingerprint, Idempotency.status, Idempotency.headers, Idempotency.body)


class KeyReused(DomainError):
    """The same key came with other fields: one of the two is a mistake."""

    status_code = 422
    title = "The idempotency key was used for another request"

    def __init__(self) -> None:
        super().__init__("Use a new Idempotency-Key for a new request.")


class StillUnderWay(Conflict):
    title = "Still being worked on"

    def __init__(self) -> None:
        super().__init__("The same request is still being worked on: send it again for its answer.")


class Request(msgspec.Struct, frozen=True):
    """``route`` is method and path template; ``fingerprint`` the SHA-256 of the parsed fields."""

    route: str
    key: str
    fingerprint: bytes


class KeptAnswer(msgspec.Struct, frozen=True):
    """``body`` is None when it held a secret, shown once and not kept, or somebody's erased data."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def claim(session: Session, actor: Actor, request: Request, now: datetime) -> KeptAnswer | None:
    """Make the key ours (None), or give the answer it had. Waits for a twin under way.

    Raises `StillUnderWay` after the `lock_timeout`, `KeyReused` for other fields, and `Conflict` for an
    answer that was not kept.
    """
    mine = _mine(actor, request)
    fresh = {
        "company_id": actor.company_id,
        "fingerprint": request.fingerprint,
        "status": None,
        "headers": None,
        "body": None,
        "created_at": now,
    }
    statement = (
        insert(Idempotency)
        .values(**mine, **fresh)
        .on_conflict_do_update(
            index_elements=["actor", "route", "key"],
            set_=fresh,
            where=Idempotency.created_at <= now - KEPT_FOR,
        )
        .returning(Idempotency.key)
    )
    if _wait_and_claim(session, statement):
        return None
    return _answer_of(session.execute(select(*COLUMNS).filter_by(**mine)).one(), request)


def _mine(actor: Actor, request: Request) -> dict[str, str]:
    """A key is its sender's own: a person's, or an integration's."""
    return {"actor": f"{actor.kind}:{actor.identity}", "route": request.route, "key": request.key}


def keep(session: Session, actor: Actor, request: Request, answer: KeptAnswer) -> None:
    """Store the answer to a request whose key is ours."""
    session.execute(
        update(Idempotency)
        .filter_by(**_mine(actor, request))
        .values(status=answer.status, headers=dict(answer.headers), body=answer.body)
    )


def forget_old(session: Session, now: datetime) -> int:
    """A job: drop what was kept for its time. Gives how many."""
    deleted = session.scalars(
        delete(Idempotency).where(Idempotency.created_at <= now - KEPT_FOR).returning(Idempotency.key)
    )
    return len(deleted.all())


def _answer_of(
    row: Row[bytes, int | None, dict[str, Any] | None, bytes | None], request: Request
) -> KeptAnswer:
    fingerprint, status, headers, body = row
    if bytes(fingerprint) != request.fingerprint:
        raise KeyReused
    if status is None or body is None:
        raise Conflict(
            "This was done already; its answer is not kept, for what it held: a secret, or erased data."
        )
    return KeptAnswer(status, headers or {}, bytes(body))


def _wait_and_claim(session: Session, statement: ReturningInsert[str]) -> bool:
    try:
        return session.scalar(statement) is not None
    except DBAPIError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise StillUnderWay from None
        raise
