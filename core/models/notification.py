"""Tables of notifications: settings, templates, webhooks, the notifications, and attempts to send them.

A webhook's secret is derived, not stored (`core.notifications.webhooks.endpoints`).
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class NotificationSetting(Base):
    """A company's setting for one event; without a row its default applies (`notifications.queue`)."""

    __tablename__ = "notification_setting"

    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), primary_key=True)
    event: Mapped[str] = mapped_column(String(32), primary_key=True)
    customer: Mapped[bool] = mapped_column(doc="e-mail to the delivery's customer")
    managers: Mapped[bool] = mapped_column(doc="e-mail to every manager")


class NotificationTemplate(Base):
    """A company's template for one event and audience; without a row the built-in one is used."""

    __tablename__ = "notification_template"

    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), primary_key=True)
    event: Mapped[str] = mapped_column(String(32), primary_key=True)
    audience: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str]
    text: Mapped[str]
    html: Mapped[str | None]
    updated_at: Mapped[datetime]


class Webhook(Base):
    """A company's webhook endpoint. After ``failures`` in a row it is not called before ``retry_at``."""

    __tablename__ = "webhook"
    __table_args__ = (
        Index("ix_webhook_company_id", "company_id", postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    url: Mapped[str] = mapped_column(doc="emptied when deleted")
    description: Mapped[str | None]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret_version: Mapped[int] = mapped_column(server_default="1")
    previous_secret_until: Mapped[datetime | None] = mapped_column(doc="both secrets sign until then")
    failures: Mapped[int] = mapped_column(server_default="0")
    retry_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None] = mapped_column(String(16), doc="failures or manager")
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class NotificationAttempt(Base):
    """An attempt, written before it begins. Without ``finished_at`` it is under way or its worker died."""

    __tablename__ = "notification_attempt"
    __table_args__ = (
        CheckConstraint("number > 0", name="number"),
        Index("ix_notification_attempt_notification_id", "notification_id", "number", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    notification_id: Mapped[int] = mapped_column(ForeignKey("notification.id", ondelete="CASCADE"))
    number: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    code: Mapped[int | None] = mapped_column(doc="HTTP status or SMTP reply code")
    error: Mapped[str | None] = mapped_column(doc="None: accepted")


class Notification(Base):
    """An e-mail or webhook message, queued in the transaction of its event (`core.notifications.queue`).

    Only ``recipient`` and ``payload`` hold personal data; both may be erased.
    """

    __tablename__ = "notification"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'sent', 'failed', 'expired')", name="state"),
        UniqueConstraint("company_id", "event", "once", "addressee"),
        Index("ix_notification_company_id_id", "company_id", "id"),
        Index("ix_notification_created_at", "created_at", postgresql_using="brin"),
        Index(
            "ix_notification_due_emails",
            "company_id",
            "next_attempt_at",
            postgresql_where=text("state = 'queued' AND webhook_id IS NULL"),
        ),
        Index(
            "ix_notification_due_webhooks",
            "webhook_id",
            "next_attempt_at",
            postgresql_where=text("state = 'queued' AND webhook_id IS NOT NULL"),
        ),
        Index("ix_notification_expiring", "expires_at", postgresql_where=text("state = 'queued'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    delivery_id: Mapped[int | None] = mapped_column(ForeignKey("delivery.id"), index=True)
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("delivery_checkpoint.id"), index=True)
    event: Mapped[str] = mapped_column(String(32))
    event_id: Mapped[uuid.UUID] = mapped_column(
        doc="the same for all recipients of an event; identifies repetitions"
    )
    once: Mapped[str | None] = mapped_column(doc="key that makes an event unique per recipient")
    audience: Mapped[str] = mapped_column(String(16))
    addressee: Mapped[str] = mapped_column(doc="``customer:5``, ``user:5`` or ``webhook:5``")
    webhook_id: Mapped[int | None] = mapped_column(ForeignKey("webhook.id"))
    recipient: Mapped[str | None] = mapped_column(doc="an e-mail address; None: a webhook, or erased")
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), server_default="queued")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(doc="while it is being sent: the end of the lease")
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(doc="why it was not sent, or is still waiting")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    request_id: Mapped[str | None] = mapped_column(String(64), doc="of the request that caused it")
