"""Tables of log-in sessions, password links, API tokens and throttling. They hold hashes, never secrets."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class LoginSession(Base):
    """One log-in and all tokens issued for it. ``generation`` counts the refreshes."""

    __tablename__ = "login_session"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int] = mapped_column(server_default="0")
    rotated_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshToken(Base):
    """A refresh token, valid while its generation equals its session's.

    A used one is kept, so that its reuse is detected.
    """

    __tablename__ = "refresh_token"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    session_id: Mapped[int] = mapped_column(ForeignKey("login_session.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int]
    issued_at: Mapped[datetime]
    used_at: Mapped[datetime | None] = mapped_column(index=True)


class UserLink(Base):
    """A single-use link to set a password. One with ``send_at`` is queued; its token is made when sent."""

    __tablename__ = "user_link"
    __table_args__ = (
        CheckConstraint("kind IN ('invitation', 'reset')", name="kind"),
        Index("ix_user_link_owed", "send_at", postgresql_where=text("send_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[bytes | None] = mapped_column(unique=True)
    send_at: Mapped[datetime | None] = mapped_column(doc="when it is due; None: nothing to send, or sent")
    send_attempts: Mapped[int] = mapped_column(server_default="0")
    send_error: Mapped[str | None]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    request_id: Mapped[str | None] = mapped_column(String(64), doc="of the request that caused it")


class ApiToken(Base):
    """An API token of a tenant. ``hint`` is the end of the secret, by which users tell tokens apart."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    name: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by: Mapped[int | None]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LoginAttempt(Base):
    """The number of attempts per key in a window. It has no tenant: the client is not authenticated yet."""

    __tablename__ = "login_attempt"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    window_started_at: Mapped[datetime] = mapped_column(index=True)
