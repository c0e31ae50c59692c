"""Vehicles with their newest positions, and the devices bound to vehicles and drivers."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class Vehicle(Base):
    """A vehicle and its newest position, which only moves forward in ``position_time``."""

    __tablename__ = "vehicle"
    __table_args__ = (UniqueConstraint("company_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    name: Mapped[str]
    plate: Mapped[str | None]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    position_time: Mapped[datetime | None]
    position_latitude: Mapped[float | None]
    position_longitude: Mapped[float | None]
    position_speed_kmh: Mapped[float | None]
    position_course_deg: Mapped[float | None]
    position_accuracy_m: Mapped[float | None]
    smoothed_speed_kmh: Mapped[float | None]


class Device(Base):
    """A GPS unit in a vehicle, or a driver's phone. Its id is also its MQTT user name and never changes."""

    __tablename__ = "device"
    __table_args__ = (
        CheckConstraint("id ~ '^[a-z0-9]{10}$'", name="id"),
        CheckConstraint("vehicle_id IS NULL OR driver_id IS NULL", name="one_binding"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    label: Mapped[str]
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id"), index=True)
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id"), index=True)
    secret_version: Mapped[int] = mapped_column(server_default="1")
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_heard_at: Mapped[datetime | None] = mapped_column(
        doc="to the minute (`core.detectors.silent_devices`)"
    )
    silence_told_at: Mapped[datetime | None] = mapped_column(
        doc="when the last `device_silent` event was sent"
    )
