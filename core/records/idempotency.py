"""Idempotency keys: the response to a request with a key is stored, and replayed to a repeat.

Invariants: the key's row is the first lock that a request takes, so that a concurrent repeat waits there and
holds no other lock. The row commits together with the request's effect and response. A failed request leaves
its key unused.
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
from core.database.errors import LOCK_NOT_AVAILABLE, sqlstate
from core.errors import Conflict, DomainError
from core.models.record import Idempotency

KEPT_FOR = timedelta(hours=24)
COLUMNS = (Idempotency.fingerprint, Idempotency.status, Idempotency.headers, Idempotency.body)


class KeyReused(DomainError):
    """The client used one key for two different requests."""

    status_code = 422
    title = "The idempotency key was used for another request"

    def __init__(self) -> None:
        super().__init__("Use a new Idempotency-Key for a new request.")


class StillUnderWay(Conflict):
    title = "Still being worked on"

    def __init__(self) -> None:
        super().__init__("The same request is still being worked on: send it again for its answer.")


class Request(msgspec.Struct, frozen=True):
    """A request: ``route`` is method and path template, ``fingerprint`` the SHA-256 of the parsed fields."""

    route: str
    key: str
    fingerprint: bytes


class KeptAnswer(msgspec.Struct, frozen=True):
    """A stored response. ``body`` is None if it held a secret, which is shown only once, or erased data."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def claim(session: Session, actor: Actor, request: Request, now: datetime) -> KeptAnswer | None:
    """Claim the key and return None, or return the stored response. Waits for a concurrent repeat.

    Raises `StillUnderWay` after the `lock_timeout`, `KeyReused` if the fields differ, and `Conflict` if the
    response was not kept.
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
    """Return the primary key of the row; keys are separate per user and per API token."""
    return {"actor": f"{actor.kind}:{actor.identity}", "route": request.route, "key": request.key}


def keep(session: Session, actor: Actor, request: Request, answer: KeptAnswer) -> None:
    """Store the response to a request whose key this transaction has claimed."""
    session.execute(
        update(Idempotency)
        .filter_by(**_mine(actor, request))
        .values(status=answer.status, headers=dict(answer.headers), body=answer.body)
    )


def purge_old_responses(session: Session, now: datetime) -> int:
    """Purge rows older than `KEPT_FOR`; return how many."""
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
            "This was done already. The answer is not stored, because it held a secret or erased data."
        )
    return KeptAnswer(status, headers or {}, bytes(body))


def _wait_and_claim(session: Session, statement: ReturningInsert[str]) -> bool:
    try:
        return session.scalar(statement) is not None
    except DBAPIError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise StillUnderWay from None
        raise
