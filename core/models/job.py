"""Tables of the jobs process: the leader's lease, the state of each job, and the nights done."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class JobsLeader(Base):
    """The lease of the leading jobs process (see `core.health.leader`). One row, without a tenant."""

    __tablename__ = "jobs_leader"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    term: Mapped[int] = mapped_column(BigInteger, doc="grows by one with each new leader")
    holder: Mapped[str | None] = mapped_column(doc="``host:pid``; None: it stepped down")
    since: Mapped[datetime] = mapped_column(doc="when its term began")
    renewed_at: Mapped[datetime] = mapped_column(doc="by the database's clock")


class JobState(Base):
    """A job, by its name in ``jobs.schedule.table.JOBS``, and its last run. It has no tenant."""

    __tablename__ = "job"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_started_at: Mapped[datetime]
    last_ended_at: Mapped[datetime | None] = mapped_column(doc="earlier than the start: running, or cut off")
    last_succeeded_at: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None] = mapped_column(doc="by the leader's clock; None: not planned yet")
    last_duration_s: Mapped[float | None]
    last_result: Mapped[str | None]
    last_error: Mapped[str | None] = mapped_column(doc="one line, no value of a row; None: it succeeded")
    consecutive_failures: Mapped[int] = mapped_column(server_default="0")
    ran_by: Mapped[str] = mapped_column(doc="``host:pid``")


class NightlyRun(Base):
    """A nightly job that is done for one local day of a company (see `core.nightly.nights`)."""

    __tablename__ = "nightly_run"
    __table_args__ = (Index("ix_nightly_run_day", "day"),)

    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), primary_key=True)
    work: Mapped[str] = mapped_column(primary_key=True, doc="the job's name")
    day: Mapped[date] = mapped_column(primary_key=True)
    done_at: Mapped[datetime] = mapped_column(server_default=func.now())
