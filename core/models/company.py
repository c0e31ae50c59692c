"""The tenant: every other row belongs to one company."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Identity,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class Company(Base):
    __tablename__ = "company"
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug"),
        CheckConstraint(
            "checkpoint_distance_m >= 0 AND checkpoint_interval_s >= 0", name="checkpoint_policy"
        ),
        CheckConstraint("fixes_kept_days >= 1 AND deliveries_kept_days >= 1", name="retention"),
        CheckConstraint(
            "arriving_soon_min >= 0 AND late_after_min >= 0 AND device_silent_after_min >= 1",
            name="notification_thresholds",
        ),
        CheckConstraint(
            "proof_required <@ ARRAY['photo', 'signature', 'recipient_name']", name="proof_required"
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    checkpoint_distance_m: Mapped[float] = mapped_column(server_default="250")
    checkpoint_interval_s: Mapped[float] = mapped_column(server_default="60")
    fixes_kept_days: Mapped[int | None] = mapped_column(server_default="365", doc="None: kept for ever")
    deliveries_kept_days: Mapped[int | None] = mapped_column(doc="days after their end; None: kept for ever")
    fixes_removed_before: Mapped[datetime | None] = mapped_column(
        doc="older fixes are purged, or being purged"
    )
    arriving_soon_min: Mapped[int] = mapped_column(
        server_default="15", doc="the event is sent when the ETA is nearer; 0: never"
    )
    late_after_min: Mapped[int] = mapped_column(server_default="0", doc="minutes of grace after the window")
    device_silent_after_min: Mapped[int] = mapped_column(server_default="30")
    proof_required: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default="{}", doc="parts of a proof that `delivered` requires"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
