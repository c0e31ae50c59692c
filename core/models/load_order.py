"""Load orders and their items."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.models.base import Base


class LoadOrder(Base):
    __tablename__ = "load_order"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    reference: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    items: Mapped[list["LoadItem"]] = relationship(
        back_populates="load_order", order_by="LoadItem.id", cascade="all, delete-orphan"
    )


class LoadItem(Base):
    __tablename__ = "load_item"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    load_order_id: Mapped[int] = mapped_column(ForeignKey("load_order.id", ondelete="CASCADE"), index=True)
    description: Mapped[str]
    quantity: Mapped[int]
    weight_kg: Mapped[float | None]
    volume_m3: Mapped[float | None]

    load_order: Mapped[LoadOrder] = relationship(back_populates="items")
