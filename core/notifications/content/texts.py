"""Default e-mail templates, and sample facts for templates."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from core.notifications.events import (
    ArrivingSoon,
    DayReported,
    DeliveryByMail,
    DeliveryLate,
    DeviceSilent,
    DisabledEndpoint,
    NamedDevice,
    NamedVehicle,
    NotificationEvent,
    StatusChanged,
    WebhookDisabled,
)
from core.notifications.kinds import Audience, Event
from core.rules.enums import Status


class Texts(msgspec.Struct, frozen=True):
    """A template or its rendering: a one-line subject, the text, and optional HTML."""

    subject: str
    text: str
    html: str | None = None


_START, _END = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 14, tzinfo=UTC)
_DELIVERY = DeliveryByMail(
    id=42,
    reference="ORDER-1001",
    status=Status.IN_TRANSIT,
    customer_id=7,
    driver_id=3,
    vehicle_id=5,
    window_start=_START,
    window_end=_END,
    pickup_address="Alexanderplatz 1, Berlin",
    dropoff_address="Am Alten Markt 1, Potsdam",
)
_EVERY = {
    "occurred_at": "2026-03-01T12:30:00Z",
    "recipient_name": "Clara Customer",
    "company_name": "Acme Deliveries",
}
RECIPIENTS: Mapping[Audience, Mapping[str, str]] = {
    Audience.CUSTOMER: {"recipient_name": "Clara Customer"},
    Audience.MANAGER: {"recipient_name": "Mara Manager"},
}
_EXAMPLES = (
    StatusChanged(
        status=Status.IN_TRANSIT, previous_status=Status.PICKUP_IN_PROGRESS, reason=None, delivery=_DELIVERY
    ),
    ArrivingSoon(eta=_START + timedelta(minutes=42), minutes=12, delivery=_DELIVERY),
    DeliveryLate(eta=_END + timedelta(minutes=25), late_minutes=25, delivery=_DELIVERY),
    DeviceSilent(
        device=NamedDevice(id="k3v9x0q2ma", name="GPS unit"),
        vehicle=NamedVehicle(id=5, name="Van 5"),
        last_seen_at=_START,
        silent_minutes=30,
    ),
    WebhookDisabled(
        webhook=DisabledEndpoint(id=9, url="https://shop.example.com/…"), failures=20, error="HTTP status 500"
    ),
    DayReported(
        day=_START.date(),
        deliveries=120,
        delivered=112,
        returned=3,
        failed=5,
        late=4,
        on_time_percent=96.4,
        distance_km=1843.2,
    ),
)


def _sample(event: NotificationEvent) -> dict[str, Any]:
    facts: dict[str, Any] = _EVERY | msgspec.to_builtins(event)
    if "delivery" in facts:
        facts["delivery"]["window"] = "2026-03-01, 12:00 to 14:00"
    return facts


# Templates are checked against the names and previewed with the values.
SAMPLES: Mapping[Event, Mapping[str, Any]] = {event.kind: _sample(event) for event in _EXAMPLES}
_GREETING = "Hello{% if recipient_name %} {{ recipient_name }}{% endif %},\n\n"
_SENDER = "\n\n{{ company_name }}\n"
_NAME = "{% if delivery.reference %}{{ delivery.reference }}{% else %}number {{ delivery.id }}{% endif %}"
_BOTH = (
    "{% if delivery.reference %}{{ delivery.reference }} (number {{ delivery.id }})"
    "{% else %}number {{ delivery.id }}{% endif %}"
)
_WINDOW = "{% if delivery.window %}Agreed: {{ delivery.window }}\n{% endif %}"
_ETA = "{% if eta %}Expected: {{ eta | datetime }}\n{% endif %}"
_REASON = "{% if reason %}Reason: {{ reason }}\n{% endif %}"
_TO = "To: {{ delivery.dropoff_address }}"
_ARRIVES = (
    "{% if minutes == 0 %}arrives any minute now"
    "{% else %}arrives in about {{ minutes | duration }}{% endif %}"
)
_LATE = "{% if late_minutes == 0 %}late{% else %}{{ late_minutes | duration }} late{% endif %}"
_FAILURES = "{% if failures == 1 %}1 failure{% else %}{{ failures }} failures{% endif %}"


def _texts(subject: str, body: str) -> Texts:
    return Texts(subject, f"{_GREETING}{body}{_SENDER}")


DEFAULTS: Mapping[tuple[Event, Audience], Texts] = {
    (Event.STATUS_CHANGED, Audience.CUSTOMER): _texts(
        f"Your delivery {_NAME} {{{{ status | phrase }}}}",
        f"Your delivery {_NAME} {{{{ status | phrase }}}}.\n\n{_REASON}{_WINDOW}{_TO}",
    ),
    (Event.STATUS_CHANGED, Audience.MANAGER): _texts(
        f"Delivery {_NAME} {{{{ status | phrase }}}}",
        f"Delivery {_BOTH} {{{{ status | phrase }}}}.\n\n"
        "At: {{ occurred_at | datetime }}\n"
        "Status before: {{ previous_status | words }}\n" + _REASON + _WINDOW + _TO,
    ),
    (Event.ARRIVING_SOON, Audience.CUSTOMER): _texts(
        f"Your delivery {_NAME} {_ARRIVES}",
        f"Your delivery {_NAME} {_ARRIVES} (around {{{{ eta | time }}}}).\n\n{_TO}",
    ),
    (Event.ARRIVING_SOON, Audience.MANAGER): _texts(
        f"Delivery {_NAME} {_ARRIVES}",
        f"Delivery {_BOTH} {_ARRIVES} (around {{{{ eta | time }}}}).\n\n{_TO}",
    ),
    (Event.LATE, Audience.CUSTOMER): _texts(
        f"Your delivery {_NAME} is late",
        f"We are sorry: your delivery {_NAME} is late.\n\n{_ETA}{_WINDOW}{_TO}",
    ),
    (Event.LATE, Audience.MANAGER): _texts(
        f"Delivery {_NAME} is {_LATE}",
        f"Delivery {_BOTH} is {_LATE}. It {{{{ delivery.status | phrase }}}}.\n\n{_ETA}{_WINDOW}{_TO}",
    ),
    (Event.DEVICE_SILENT, Audience.MANAGER): _texts(
        "{% if vehicle.name %}{{ vehicle.name }}{% else %}{{ device.name }}{% endif %} has gone silent",
        "Nothing has come from {{ device.name }} ({{ device.id }}) for {{ silent_minutes | duration }}.\n\n"
        "{% if vehicle.name %}Vehicle: {{ vehicle.name }}\n{% endif %}"
        "{% if last_seen_at %}Last contact: {{ last_seen_at | datetime }}"
        "{% else %}It has never reported.{% endif %}\n",
    ),
    (Event.WEBHOOK_DISABLED, Audience.MANAGER): _texts(
        f"A webhook was disabled after {_FAILURES}",
        f"The webhook {{{{ webhook.id }}}} ({{{{ webhook.url }}}}) was disabled after {_FAILURES} in a row."
        "\n\n"
        "Last error: {{ error }}\n\n"
        "Events are kept for it for up to a day: repair the receiver, then enable it with"
        " POST /webhooks/{{ webhook.id }}/enable/",
    ),
    (Event.DAILY_REPORT, Audience.MANAGER): _texts(
        "Deliveries of {{ day }}",
        "This is what became of the deliveries of {{ day }}.\n\n"
        "Deliveries: {{ deliveries }}\nDelivered: {{ delivered }}\nReturned: {{ returned }}\n"
        "Failed: {{ failed }}\n"
        "On time: {% if on_time_percent == none %}none had an agreed time"
        "{% else %}{{ on_time_percent }}%{% endif %}\n\n"
        "Distance: {{ distance_km }} km",
    ),
}
