"""The events that notifications report: what webhooks receive as ``data``, and e-mail templates as facts.

They hold no personal data, because every webhook of the company receives them. Postal addresses and the
recipient's name go only into e-mails (`DeliveryByMail`).
"""

from datetime import date, datetime
from typing import Annotated, ClassVar

import msgspec

from core.notifications.kinds import Event
from core.rules.enums import Status


class DeliveryAtEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery as it was when the event was recorded."""

    id: int
    reference: str
    status: Status
    customer_id: int
    driver_id: int | None
    vehicle_id: int | None
    window_start: datetime | None
    window_end: datetime | None


class DeliveryByMail(DeliveryAtEvent, frozen=True, kw_only=True):
    pickup_address: str
    dropoff_address: str


class NamedDevice(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str


class NamedVehicle(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str


class DisabledEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    url: Annotated[str, msgspec.Meta(description="without its path, which may hold a token")]


class NotificationEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What all events share: their kind, which is not part of their fields."""

    kind: ClassVar[Event]


class StatusChanged(NotificationEvent, frozen=True, kw_only=True):
    """The status of a delivery has changed."""

    kind = Event.STATUS_CHANGED
    status: Status
    previous_status: Status
    reason: str | None
    delivery: DeliveryAtEvent


class ArrivingSoon(NotificationEvent, frozen=True, kw_only=True):
    """A delivery arrives within the minutes that the company calls soon."""

    kind = Event.ARRIVING_SOON
    eta: datetime
    minutes: Annotated[int, msgspec.Meta(description="from the event to the ETA")]
    delivery: DeliveryAtEvent


class DeliveryLate(NotificationEvent, frozen=True, kw_only=True):
    """A delivery has not ended, although its window has, and the company's minutes of grace."""

    kind = Event.LATE
    eta: Annotated[datetime | None, msgspec.Meta(description="null while it is unknown")]
    late_minutes: Annotated[int, msgspec.Meta(description="since the window's end")]
    delivery: DeliveryAtEvent


class DeviceSilent(NotificationEvent, frozen=True, kw_only=True):
    """A device has sent nothing for a while, although a delivery is under way."""

    kind = Event.DEVICE_SILENT
    device: NamedDevice
    vehicle: NamedVehicle
    last_seen_at: Annotated[datetime | None, msgspec.Meta(description="null if it has never sent anything")]
    silent_minutes: int


class WebhookDisabled(NotificationEvent, frozen=True, kw_only=True):
    """A webhook was disabled after too many failures in a row."""

    kind = Event.WEBHOOK_DISABLED
    webhook: DisabledEndpoint
    failures: int
    error: Annotated[str | None, msgspec.Meta(description="of the last call")]


class DayReported(NotificationEvent, frozen=True, kw_only=True):
    """The daily report of the day that ended is made."""

    kind = Event.DAILY_REPORT
    day: date
    deliveries: Annotated[int, msgspec.Meta(description="that ended on this day")]
    delivered: int
    returned: int
    failed: int
    late: int
    on_time_percent: Annotated[float | None, msgspec.Meta(description="null if none had an agreed time")]
    distance_km: float


class WebhookTested(NotificationEvent, frozen=True, kw_only=True):
    """A manager asked for a test of the webhook."""

    kind = Event.TEST


EVENTS: tuple[type[NotificationEvent], ...] = (
    StatusChanged,
    ArrivingSoon,
    DeliveryLate,
    DeviceSilent,
    WebhookDisabled,
    DayReported,
    WebhookTested,
)
