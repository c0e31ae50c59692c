"""Deliveries and their checkpoints."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Text,
    cast,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.models.base import Base, one_of
from core.models.load_order import LoadOrder
from core.rules.enums import CheckpointKind, Status
from core.rules.text import search_words

# Full-text search uses words made in Python (`text.search_words`): PostgreSQL before 18 has no full case
# folding, its locales differ, and its text parser splits "ORDER-1001" into a word and a negative number.
SEARCHED = ("reference", "pickup_address", "dropoff_address")


def words_hash() -> str:
    """Return the SQL of the hash of a row's searched texts, seeded with the version of `search_words`."""
    return f"hashtextextended({' || chr(10) || '.join(SEARCHED)}, {search_words.VERSION})"


WORDS_OUTDATED = f"search_words_of IS DISTINCT FROM {words_hash()}"
# The `search` column of 0.1.0, which requires it; we use it for rows that 0.1.0 writes. Drop it once 0.1.0 is
# no longer supported. It holds the lower-case prefixes of the words, and a mark of the tenant.
SEARCH_MARK = "@"
SEARCH_CUTS = (1, 2, 3, 4, 6, 60)
_WORDS = "lower(reference || ' ' || pickup_address || ' ' || dropoff_address)"
_BEGINNINGS = " || ".join(
    f"regexp_split_to_array(regexp_replace({_WORDS}, '([[:alnum:]]{{{length}}})[[:alnum:]]+', '\\1', 'g'),"
    " '[^[:alnum:]]+')"
    for length in SEARCH_CUTS
)
SEARCH = (
    f"array_to_tsvector(array_append(array_remove({_BEGINNINGS}, ''), '{SEARCH_MARK}' || company_id::text))"
)


# After the window has moved or the vehicle has changed, a notification may be sent again.
LATE_WITHOUT_EVENT = (
    "status IN ('pending', 'pickup_in_progress', 'in_transit') AND late_told_for IS DISTINCT FROM window_end"
)
NEAR_WITHOUT_EVENT = (
    "status = 'in_transit' AND (arriving_soon_told_at IS NULL OR arriving_soon_told_at < vehicle_since)"
)


class Delivery(Base):
    """A delivery. ``checkpoint_*`` is its last location checkpoint: the checkpoint policy's whole state."""

    __tablename__ = "delivery"
    __table_args__ = (
        CheckConstraint(one_of("status", Status), name="status"),
        Index(
            "ix_delivery_under_way_vehicle",
            "vehicle_id",
            postgresql_where=text("status IN ('pickup_in_progress', 'in_transit')"),
        ),
        Index(
            "ix_delivery_under_way_driver",
            "driver_id",
            postgresql_where=text("status IN ('pickup_in_progress', 'in_transit')"),
        ),
        # One per filter of the list (see `core.deliveries.listing`), scanned backwards for newest first.
        Index("ix_delivery_company_id_id", "company_id", "id"),
        Index("ix_delivery_company_id_status_id", "company_id", "status", "id"),
        Index("ix_delivery_company_id_customer_id_id", "company_id", "customer_id", "id"),
        Index("ix_delivery_company_id_driver_id_id", "company_id", "driver_id", "id"),
        Index("ix_delivery_company_id_vehicle_id_id", "company_id", "vehicle_id", "id"),
        Index("ix_delivery_company_id_scheduled_at_id", "company_id", "scheduled_at", "id"),
        Index("ix_delivery_company_id_ended_at", "company_id", "ended_at"),  # deliveries that ended on a day
        Index("ix_delivery_search", "search", postgresql_using="gin"),
        Index("ix_delivery_search_words", "search_words", postgresql_using="gin"),
        Index(
            "ix_delivery_words_outdated",
            "company_id",
            "search_words_of",
            postgresql_where=text(WORDS_OUTDATED),
        ),
        Index("ix_delivery_fact_retained", "ended_at", postgresql_where=text("fact_retained")),
        # Deliveries to be measured before their fixes are purged (see `core.operations.retention`).
        Index(
            "ix_delivery_unmeasured",
            "company_id",
            "started_at",
            postgresql_where=text("driven_m IS NULL AND ended_at IS NOT NULL"),
        ),
        # Only the deliveries that the detectors `late_deliveries` and `near_arrivals` still have to watch.
        Index("ix_delivery_late_untold", "window_end", postgresql_where=text(LATE_WITHOUT_EVENT)),
        Index("ix_delivery_arrival_untold", "vehicle_id", postgresql_where=text(NEAR_WITHOUT_EVENT)),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    reference: Mapped[str]
    status: Mapped[Status] = mapped_column(server_default=Status.PENDING.value)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("driver.id"))
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id"))
    load_order_id: Mapped[int | None] = mapped_column(ForeignKey("load_order.id"), index=True)
    pickup_address: Mapped[str]
    pickup_latitude: Mapped[float | None]
    pickup_longitude: Mapped[float | None]
    dropoff_address: Mapped[str]
    dropoff_latitude: Mapped[float | None]
    dropoff_longitude: Mapped[float | None]
    window_start: Mapped[datetime | None]
    window_end: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    vehicle_since: Mapped[datetime | None] = mapped_column(doc="when the present vehicle was assigned")
    checkpoint_time: Mapped[datetime | None]
    checkpoint_latitude: Mapped[float | None]
    checkpoint_longitude: Mapped[float | None]
    fact_retained: Mapped[bool] = mapped_column(server_default="false")
    driven_m: Mapped[float | None] = mapped_column(doc="stored before the fixes are purged; None: not yet")
    driven_fixes: Mapped[int | None] = mapped_column(doc="None: some fixes were missing")
    erased_at: Mapped[datetime | None] = mapped_column(doc="when its customer's personal data were erased")
    late_told_for: Mapped[datetime | None] = mapped_column(doc="the window's end of the last `late` event")
    arriving_soon_told_at: Mapped[datetime | None]
    scheduled_at: Mapped[datetime] = mapped_column(
        Computed("coalesce(window_start, created_at)", persisted=True),
        doc="the time by which lists filter and sort",
    )
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(SEARCH, persisted=True), deferred=True)
    search_words: Mapped[str | None] = mapped_column(
        TSVECTOR, deferred=True, doc="words by `core.rules.text.search_words`"
    )
    search_words_of: Mapped[int | None] = mapped_column(
        BigInteger,
        deferred=True,
        doc="hash of the texts behind the search words (`core.deliveries.search_words`)",
    )

    load_order: Mapped[LoadOrder | None] = relationship(lazy="raise")


@event.listens_for(Delivery, "before_insert")
def _make_words(_mapper: Any, _connection: Any, delivery: Delivery) -> None:
    texts = [getattr(delivery, name) for name in SEARCHED]
    words = search_words.lexemes(texts, delivery.company_id)
    made: Any = delivery  # untyped, because the attributes are set to SQL expressions
    made.search_words = func.array_to_tsvector(cast(words, ARRAY(Text)))
    made.search_words_of = func.hashtextextended(cast("\n".join(texts), Text), search_words.VERSION)


@event.listens_for(Delivery, "before_update")
def _remake_words(mapper: Any, connection: Any, delivery: Delivery) -> None:
    attributes = inspect(delivery).attrs
    if any(attributes[name].history.has_changes() for name in SEARCHED):
        _make_words(mapper, connection, delivery)


class DeliveryCheckpoint(Base):
    """An entry of a delivery's history, written under its lock, so that ids are in commit order."""

    __tablename__ = "delivery_checkpoint"
    __table_args__ = (
        CheckConstraint(one_of("kind", CheckpointKind), name="kind"),
        Index("ix_delivery_checkpoint_delivery_id_id", "delivery_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"))
    kind: Mapped[CheckpointKind]
    status: Mapped[Status]
    vehicle_id: Mapped[int | None]
    driver_id: Mapped[int | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    speed_kmh: Mapped[float | None]
    course_deg: Mapped[float | None]
    accuracy_m: Mapped[float | None]
    reason: Mapped[str | None]
    occurred_at: Mapped[datetime] = mapped_column(doc="when it happened, by the reporter's clock")
    occurred_at_sent: Mapped[datetime | None] = mapped_column(
        doc="`occurred_at` as sent, to recognise a repetition; None: not sent, or from before 0.2.0"
    )
    recorded_at: Mapped[datetime] = mapped_column(doc="by the server's clock")
    actor_user_id: Mapped[int | None]
    actor_driver_id: Mapped[int | None] = mapped_column(doc="set for a driver's REST calls and phone")
    actor_device_id: Mapped[str | None]
    actor_api_token_id: Mapped[int | None]
    proof_id: Mapped[int | None]
    proof_sha256s: Mapped[list[str] | None] = mapped_column(
        ARRAY(Text), doc="SHA-256 of the proof's images, in hex"
    )
