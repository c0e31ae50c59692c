"""The outbox: messages for the broker, written in the transaction of the change and relayed after its commit.

Kinds and payloads:
- ``status`` / ``alert``: the fact itself (`core.rules.facts`);
- ``vehicle_gone`` / ``delivery_gone``: ``{"company": slug, "id": n}``, clears the retained fact;
- ``company`` / ``device`` / ``operator``: ``{"id": …}``, synchronizes that subject's access on the broker
  with the database as it is when the row is applied (so rows may be applied twice or late).
"""

import enum
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from core.models.record import Outbox
from core.rules.facts import AlertFact, StatusFact

CHANNEL = "milepost_outbox"


class OutboxKind(enum.StrEnum):
    STATUS = "status"
    ALERT = "alert"
    VEHICLE_GONE = "vehicle_gone"
    DELIVERY_GONE = "delivery_gone"
    COMPANY = "company"
    DEVICE = "device"
    OPERATOR = "operator"


def announce(session: Session, company_id: int, fact: StatusFact | AlertFact) -> None:
    kind = OutboxKind.STATUS if isinstance(fact, StatusFact) else OutboxKind.ALERT
    _add(session, kind, company_id, msgspec.to_builtins(fact))


def clear_retained(session: Session, kind: OutboxKind, company_id: int, slug: str, fact_id: int) -> None:
    """Queue the clearing of a retained fact; ``kind`` is ``VEHICLE_GONE`` or ``DELIVERY_GONE``."""
    _add(session, kind, company_id, {"company": slug, "id": fact_id})


def sync_access(session: Session, kind: OutboxKind, company_id: int, subject: int | str) -> None:
    """Queue a synchronization of the broker access of a company, device or operator."""
    _add(session, kind, company_id, {"id": subject})


def _add(session: Session, kind: OutboxKind, company_id: int, payload: dict[str, Any]) -> None:
    session.add(Outbox(company_id=company_id, kind=kind, payload=payload))
    wake_relay(session)


def wake_relay(session: Session) -> None:
    # PostgreSQL delivers NOTIFY at commit, so the relay never wakes before it can see the row.
    session.connection().exec_driver_sql(f"NOTIFY {CHANNEL}")
