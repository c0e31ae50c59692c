"""The outbox: messages for the broker, written in the transaction of the change and relayed after its commit.

Kinds and payloads:
- ``status`` / ``alert``: the fact itself (`core.rules.facts`);
- ``vehicle_gone`` / ``delivery_gone``: ``{"company": slug, "id": n}``, clears the retained fact;
- ``company`` / ``device`` / ``operator``: ``{"id": …}``, synchronizes that subject's access on the broker
  with the database as it is when the row is applied (so rows may be applied twice or late).
"""

import enum

import msgspec
from sqlalchemy.orm import Session

from core.models.record import Outbox
from core.request_ids import CURRENT
from core.rules.facts import AlertFact, StatusFact

CHANNEL = "milepost_outbox"

# The relay's statements, for the connection that holds the leader's lock.
NEXT_ROWS = (
    "SELECT id, kind, payload, attempts, request_id FROM outbox WHERE parked_at IS NULL ORDER BY id LIMIT %s"
)
DELETE_ROWS = "DELETE FROM outbox WHERE id = ANY(%s)"
COUNT_REFUSAL = (
    "UPDATE outbox SET attempts = attempts + 1, error = %s,"
    " parked_at = CASE WHEN attempts + 1 >= %s THEN now() END"
    " WHERE id = %s RETURNING parked_at IS NOT NULL"
)


class OutboxKind(enum.StrEnum):
    STATUS = "status"
    ALERT = "alert"
    VEHICLE_GONE = "vehicle_gone"
    DELIVERY_GONE = "delivery_gone"
    COMPANY = "company"
    DEVICE = "device"
    OPERATOR = "operator"


def add_fact(session: Session, company_id: int, fact: StatusFact | AlertFact) -> None:
    """Queue the publication of a fact."""
    kind = OutboxKind.STATUS if isinstance(fact, StatusFact) else OutboxKind.ALERT
    session.add(
        Outbox(company_id=company_id, kind=kind, payload=msgspec.to_builtins(fact), request_id=CURRENT.get())
    )
    wake_relay(session)


def clear_retained(session: Session, kind: OutboxKind, company_id: int, slug: str, fact_id: int) -> None:
    """Queue the clearing of a retained fact; ``kind`` is ``VEHICLE_GONE`` or ``DELIVERY_GONE``."""
    session.add(
        Outbox(
            company_id=company_id,
            kind=kind,
            payload={"company": slug, "id": fact_id},
            request_id=CURRENT.get(),
        )
    )
    wake_relay(session)


def sync_access(session: Session, kind: OutboxKind, company_id: int, subject: int | str) -> None:
    """Queue a synchronization of the broker access of a company, device or operator."""
    session.add(Outbox(company_id=company_id, kind=kind, payload={"id": subject}, request_id=CURRENT.get()))
    wake_relay(session)


def wake_relay(session: Session) -> None:
    # PostgreSQL delivers NOTIFY at commit, so the relay never wakes before it can see the row.
    session.connection().exec_driver_sql(f"NOTIFY {CHANNEL}")
