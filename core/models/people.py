"""Users, drivers and customers."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.models.base import Base, one_of
from core.models.company import Company
from core.rules.enums import Role


class Driver(Base):
    __tablename__ = "driver"
    __table_args__ = (UniqueConstraint("company_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    name: Mapped[str]
    phone: Mapped[str | None]
    licence_number: Mapped[str | None]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Customer(Base):
    __tablename__ = "customer"
    __table_args__ = (UniqueConstraint("company_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    name: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    address: Mapped[str | None]
    archived_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AppUser(Base):
    """A person who logs in. A user who is a driver or a customer refers to that driver or customer."""

    __tablename__ = "app_user"
    __table_args__ = (
        CheckConstraint(one_of("role", Role), name="role"),
        CheckConstraint("(role = 'driver') = (driver_id IS NOT NULL)", name="driver"),
        CheckConstraint("(role = 'customer') = (customer_id IS NOT NULL)", name="customer"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    role: Mapped[Role]
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id"), unique=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customer.id"), index=True)
    password_hash: Mapped[str | None] = mapped_column(doc="None: invited, no password set yet")
    token_epoch: Mapped[int] = mapped_column(server_default="1")
    mqtt_secret_version: Mapped[int] = mapped_column(server_default="1")
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    company: Mapped[Company] = relationship(lazy="raise")

    @property
    def invited(self) -> bool:
        """Return whether the user has not set a password yet."""
        return self.password_hash is None
