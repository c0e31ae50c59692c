"""The table of heartbeats."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base


class Heartbeat(Base):
    """The last heartbeat of an ingest shard, the relay or an API process. It has no tenant."""

    __tablename__ = "heartbeat"

    part: Mapped[str] = mapped_column(primary_key=True, doc="`core.health.heartbeats.PartKind`")
    name: Mapped[str] = mapped_column(primary_key=True, doc="the shard, ``relay``, or the process itself")
    process: Mapped[str] = mapped_column(doc="``host:pid``")
    state: Mapped[str] = mapped_column(doc="`core.health.heartbeats.PartState`")
    detail: Mapped[str | None] = mapped_column(doc="one line for operators: no value of a row, no secret")
    since: Mapped[datetime] = mapped_column(doc="when its state began, by the database's clock")
    seen_at: Mapped[datetime] = mapped_column(doc="when it last reported, by the database's clock")
    worked_at: Mapped[datetime | None] = mapped_column(doc="when it last did its work, by its own clock")
