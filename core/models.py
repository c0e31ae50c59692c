"""The tables. Instants are ``timestamptz`` in UTC and end in ``_at`` or ``_time``; units stand in the names.

`position` is no ORM class: it is only ever written by COPY and read in bulk (see `core.positions`).
"""

import enum
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    cast,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from core import search_words

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Role(enum.StrEnum):
    DRIVER = "driver"
    CUSTOMER = "customer"
    MANAGER = "manager"
    OPERATOR = "operator"


class Status(enum.StrEnum):
    PENDING = "pending"
    PICKUP_IN_PROGRESS = "pickup_in_progress"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    RETURNED = "returned"
    FAILED = "failed"


class CheckpointKind(enum.StrEnum):
    STATUS = "status"
    ASSIGNMENT = "assignment"
    LOCATION = "location"
    PROOF = "proof"


# What watchers are told of; a status fact is made of each.
ANNOUNCED = (CheckpointKind.STATUS, CheckpointKind.ASSIGNMENT)


def one_of(column: str, values: Iterable[enum.StrEnum]) -> str:
    """The SQL of a CHECK that ``column`` holds one of an enum's values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def _words(values: type[enum.StrEnum], length: int) -> Enum:
    """Stored as the value's text in a VARCHAR; read back as the enum."""
    return Enum(
        values, native_enum=False, length=length, values_callable=lambda enum: [v.value for v in enum]
    )


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        str: Text,
        bytes: LargeBinary,
        Role: _words(Role, 16),
        Status: _words(Status, 32),
        CheckpointKind: _words(CheckpointKind, 16),
    }


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
    fixes_kept_days: Mapped[int | None] = mapped_column(server_default="365", doc="None: for ever")
    deliveries_kept_days: Mapped[int | None] = mapped_column(doc="after their end; None: for ever")
    fixes_removed_before: Mapped[datetime | None] = mapped_column(doc="older fixes are gone, or going")
    arriving_soon_min: Mapped[int] = mapped_column(server_default="15", doc="told when the ETA is nearer")
    late_after_min: Mapped[int] = mapped_column(server_default="0", doc="minutes of grace after the window")
    device_silent_after_min: Mapped[int] = mapped_column(server_default="30")
    proof_required: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default="{}", doc="parts of a proof that `delivered` waits for"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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
    """A person who logs in. A driver's user names its driver, a customer's user its customer."""

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
    password_hash: Mapped[str | None] = mapped_column(doc="None: invited, and not come yet")
    token_epoch: Mapped[int] = mapped_column(server_default="1")
    mqtt_secret_version: Mapped[int] = mapped_column(server_default="1")
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    company: Mapped[Company] = relationship(lazy="raise")

    @property
    def invited(self) -> bool:
        """Whether the person has not set a password yet."""
        return self.password_hash is None


class Vehicle(Base):
    """A van and its newest position, which only ever moves forward in ``position_time``."""

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
    """A GPS unit in a vehicle, or a driver's phone. Its id is its MQTT user name; neither ever changes."""

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
    last_heard_at: Mapped[datetime | None] = mapped_column(doc="to the minute (`core.silence`)")
    silence_told_at: Mapped[datetime | None] = mapped_column(doc="when its silence was last told")


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


# A list is searched by words that we make ourselves (`core.search_words`): PostgreSQL before 18 cannot fold
# case fully, its locales differ, and its text parser takes "ORDER-1001" for a word and a negative number.
SEARCHED = ("reference", "pickup_address", "dropoff_address")


def words_hash() -> str:
    """The SQL of the hash of a row's searched texts, by the present version of the words."""
    return f"hashtextextended({' || chr(10) || '.join(SEARCHED)}, {search_words.VERSION})"


WORDS_OUTDATED = f"search_words_of IS DISTINCT FROM {words_hash()}"
# Of 0.1.0, which cannot do without it; of use to us for rows it writes. To be dropped once none may run any
# more. The beginnings of the words, lower case, and a mark of the company.
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


# A window that was moved, or another vehicle, may be told again.
LATE_UNTOLD = (
    "status IN ('pending', 'pickup_in_progress', 'in_transit') AND late_told_for IS DISTINCT FROM window_end"
)
ARRIVAL_UNTOLD = (
    "status = 'in_transit' AND (arriving_soon_told_at IS NULL OR arriving_soon_told_at < vehicle_since)"
)


class Delivery(Base):
    """``checkpoint_*`` is the last location checkpoint: the whole state that the checkpoint policy needs."""

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
        # One a filter of the list (see `core.delivery_list`); read backwards, newest first.
        Index("ix_delivery_company_id_id", "company_id", "id"),
        Index("ix_delivery_company_id_status_id", "company_id", "status", "id"),
        Index("ix_delivery_company_id_customer_id_id", "company_id", "customer_id", "id"),
        Index("ix_delivery_company_id_driver_id_id", "company_id", "driver_id", "id"),
        Index("ix_delivery_company_id_vehicle_id_id", "company_id", "vehicle_id", "id"),
        Index("ix_delivery_company_id_scheduled_at_id", "company_id", "scheduled_at", "id"),
        Index("ix_delivery_company_id_ended_at", "company_id", "ended_at"),  # what ended on a day
        Index("ix_delivery_search", "search", postgresql_using="gin"),
        Index("ix_delivery_search_words", "search_words", postgresql_using="gin"),
        Index(
            "ix_delivery_words_outdated",
            "company_id",
            "search_words_of",
            postgresql_where=text(WORDS_OUTDATED),
        ),
        Index("ix_delivery_fact_retained", "ended_at", postgresql_where=text("fact_retained")),
        # Those whose distance must be written down before their fixes go (see `core.retention`).
        Index(
            "ix_delivery_unmeasured",
            "company_id",
            "started_at",
            postgresql_where=text("driven_m IS NULL AND ended_at IS NOT NULL"),
        ),
        # What the detectors still have to watch: only that is in them (`core.lateness`, `core.arrivals`).
        Index("ix_delivery_late_untold", "window_end", postgresql_where=text(LATE_UNTOLD)),
        Index("ix_delivery_arrival_untold", "vehicle_id", postgresql_where=text(ARRIVAL_UNTOLD)),
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
    driven_m: Mapped[float | None] = mapped_column(doc="measured before the fixes went; None: they tell")
    driven_fixes: Mapped[int | None] = mapped_column(doc="None: not all of them were measured")
    erased_at: Mapped[datetime | None] = mapped_column(doc="when its customer was erased from it")
    late_told_for: Mapped[datetime | None] = mapped_column(doc="the window's end that it was told late for")
    arriving_soon_told_at: Mapped[datetime | None]
    scheduled_at: Mapped[datetime] = mapped_column(
        Computed("coalesce(window_start, created_at)", persisted=True), doc="by which lists know its time"
    )
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(SEARCH, persisted=True), deferred=True)
    search_words: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True, doc="of `core.search_words`")
    search_words_of: Mapped[int | None] = mapped_column(
        BigInteger, deferred=True, doc="hash of the texts they were made of (`core.delivery_words`)"
    )

    load_order: Mapped[LoadOrder | None] = relationship(lazy="raise")


@event.listens_for(Delivery, "before_insert")
def _make_words(_mapper: Any, _connection: Any, delivery: Delivery) -> None:
    texts = [getattr(delivery, name) for name in SEARCHED]
    words = search_words.lexemes(texts, delivery.company_id)
    made: Any = delivery  # takes SQL too
    made.search_words = func.array_to_tsvector(cast(words, ARRAY(Text)))
    made.search_words_of = func.hashtextextended(cast("\n".join(texts), Text), search_words.VERSION)


@event.listens_for(Delivery, "before_update")
def _remake_words(mapper: Any, connection: Any, delivery: Delivery) -> None:
    attributes = inspect(delivery).attrs
    if any(attributes[name].history.has_changes() for name in SEARCHED):
        _make_words(mapper, connection, delivery)


class DeliveryCheckpoint(Base):
    """The delivery's record. Written under the delivery's lock, so that ids are in commit order."""

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
    occurred_at: Mapped[datetime] = mapped_column(doc="when it happened, by the clock of who reported it")
    occurred_at_sent: Mapped[datetime | None] = mapped_column(
        doc="`occurred_at` as sent, by which a repeated request is known; None: not sent, or of before 0.2.0"
    )
    recorded_at: Mapped[datetime] = mapped_column(doc="when we stored it")
    actor_user_id: Mapped[int | None]
    actor_driver_id: Mapped[int | None] = mapped_column(doc="set for a driver's REST calls and phone alike")
    actor_device_id: Mapped[str | None]
    actor_api_token_id: Mapped[int | None]
    proof_id: Mapped[int | None]
    proof_sha256s: Mapped[list[str] | None] = mapped_column(ARRAY(Text), doc="of the proof's pictures")


class Outbox(Base):
    """What must reach the broker after a commit, in id order; `broker.relay` publishes and deletes."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    parked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Idempotency(Base):
    """A request that was answered, by its key: the same again gets the same answer (`core.idempotency`)."""

    __tablename__ = "idempotency"

    actor: Mapped[str] = mapped_column(primary_key=True, doc="``user:5`` or ``token:7``")
    route: Mapped[str] = mapped_column(primary_key=True, doc="method and path template")
    key: Mapped[str] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    fingerprint: Mapped[bytes] = mapped_column(doc="SHA-256 of the parsed fields")
    status: Mapped[int | None] = mapped_column(doc="None only inside the transaction that does the work")
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(doc="None: it held a secret or erased data")
    created_at: Mapped[datetime] = mapped_column(index=True)


class Quarantine(Base):
    """A message we could not use, kept with its reason.

    ``raw_bytes`` and ``raw_sha256`` are the whole message's; None in rows of before 0011, which are whole.
    """

    __tablename__ = "quarantine"
    __table_args__ = (Index("ix_quarantine_company_id_id", "company_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    device_id: Mapped[str | None]
    topic: Mapped[str]
    raw: Mapped[bytes]
    reason: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str]
    received_at: Mapped[datetime]
    raw_bytes: Mapped[int | None]
    raw_sha256: Mapped[bytes | None]


class QuarantineCount(Base):
    """How many refused messages of a device were kept in an hour, and how many only counted.

    Without ``device_id``: of the whole company, where only what its own bound left out counts as not kept.
    ``last_id`` is the quarantine's row of the last message not kept.
    """

    __tablename__ = "quarantine_count"
    __table_args__ = (
        UniqueConstraint("company_id", "hour", "device_id", postgresql_nulls_not_distinct=True),
        Index(
            "ix_quarantine_count_not_kept",
            "company_id",
            "id",
            postgresql_where=text("not_kept_rows > 0 AND device_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    device_id: Mapped[str | None]
    hour: Mapped[datetime]
    kept_rows: Mapped[int]
    kept_bytes: Mapped[int] = mapped_column(BigInteger)
    not_kept_rows: Mapped[int] = mapped_column(BigInteger)
    not_kept_bytes: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[int | None] = mapped_column(BigInteger)


class Notification(Base):
    """A message owed to somebody, queued in the transaction of what it tells (`core.notifications`).

    Personal data stand in ``recipient`` and ``payload`` only; both may be emptied.
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
        doc="one for all who are told; receivers know repetitions by it"
    )
    once: Mapped[str | None] = mapped_column(doc="what must not be told twice")
    audience: Mapped[str] = mapped_column(String(16))
    addressee: Mapped[str] = mapped_column(doc="``customer:5``, ``user:5`` or ``webhook:5``")
    webhook_id: Mapped[int | None] = mapped_column(ForeignKey("webhook.id"))
    recipient: Mapped[str | None] = mapped_column(doc="an e-mail address; None: a webhook, or erased")
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), server_default="queued")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(doc="while it is being sent: when another may try")
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(doc="why it is not sent, or not yet")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
