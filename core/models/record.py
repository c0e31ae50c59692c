"""Technical records: the outbox, idempotency keys, the quarantine and the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class Outbox(Base):
    """A message for the broker; after the commit `broker.relay` publishes it, in id order, and deletes it."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    parked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    request_id: Mapped[str | None] = mapped_column(String(64), doc="of the request that caused it")


class Idempotency(Base):
    """A request's idempotency key and response; a repeat gets the same response (`records.idempotency`)."""

    __tablename__ = "idempotency"

    actor: Mapped[str] = mapped_column(primary_key=True, doc="``user:5`` or ``token:7``")
    route: Mapped[str] = mapped_column(primary_key=True, doc="method and path template")
    key: Mapped[str] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    fingerprint: Mapped[bytes] = mapped_column(doc="SHA-256 of the parsed fields")
    status: Mapped[int | None] = mapped_column(doc="None only inside the transaction that does the work")
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(doc="None: it contained a secret or erased data")
    created_at: Mapped[datetime] = mapped_column(index=True)


class Quarantine(Base):
    """A refused message and its reason.

    ``raw_bytes`` and ``raw_sha256`` are of the whole message; None in rows older than migration 0011, whose
    ``raw`` is the whole message.
    """

    __tablename__ = "quarantine"
    __table_args__ = (Index("ix_quarantine_company_id_id", "company_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    device_id: Mapped[str | None]
    topic: Mapped[str]
    raw: Mapped[bytes]
    reason: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str]
    received_at: Mapped[datetime]
    raw_bytes: Mapped[int | None]
    raw_sha256: Mapped[bytes | None]


class QuarantineCount(Base):
    """How many refused messages of a device were kept in an hour, and how many were only counted.

    A row without ``device_id`` is of the whole company; its ``not_kept_*`` count only messages that exceeded
    the company's own bound. ``last_id`` is the quarantine's row of the last message not kept.
    """

    __tablename__ = "quarantine_count"
    __table_args__ = (
        UniqueConstraint("company_id", "hour", "device_id", postgresql_nulls_not_distinct=True),
        Index(
            "ix_quarantine_count_not_kept",
            "company_id",
            "id",
            postgresql_where=text("not_kept_rows > 0 AND device_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    device_id: Mapped[str | None]
    hour: Mapped[datetime]
    kept_rows: Mapped[int]
    kept_bytes: Mapped[int] = mapped_column(BigInteger)
    not_kept_rows: Mapped[int] = mapped_column(BigInteger)
    not_kept_bytes: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[int | None] = mapped_column(BigInteger)


class AuditEntry(Base):
    """An entry of the audit log. Its ids have no foreign keys, because it outlives the rows it refers to."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_company_id_id", "company_id", "id"),
        Index("ix_audit_entry_at", "company_id", "at"),
        Index("ix_audit_entry_actor", "company_id", "actor_kind", "actor_id", "id"),
        Index("ix_audit_entry_subject", "company_id", "subject_kind", "subject_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str | None]
    action: Mapped[str] = mapped_column(String(64))
    subject_kind: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[str | None]
    changes: Mapped[dict[str, Any]]
