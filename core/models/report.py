"""The table of daily reports, which outlive the rows that they were computed from."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class DailyReport(Base):
    """One local day of a company. ``figures`` is a `core.reporting.daily_figures.DayFigures`."""

    __tablename__ = "daily_report"

    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    time_zone: Mapped[str] = mapped_column(doc="the company's time zone on that day")
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    made_at: Mapped[datetime]
    figures: Mapped[dict[str, Any]]
