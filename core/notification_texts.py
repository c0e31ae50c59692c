"""What e-mails say when a company has no words of its own, and samples of what templates may show."""

from collections.abc import Mapping
from typing import Any

import msgspec

from core.notifications import Audience, Event


class Texts(msgspec.Struct, frozen=True):
    """A template, or what came of one: a subject in one line, the text, and HTML if wished."""

    subject: str
    text: str
    html: str | None = None


_DELIVERY = {
    "id": 42,
    "reference": "ORDER-1001",
    "status": "in_transit",
    "customer_id": 7,
    "driver_id": 3,
    "vehicle_id": 5,
    "window_start": "2026-03-01T12:00:00Z",
    "window_end": "2026-03-01T14:00:00Z",
    "window": "2026-03-01 12:00 to 2026-03-01 14:00",
    "pickup_address": "Alexanderplatz 1, Berlin",
    "dropoff_address": "Am Alten Markt 1, Potsdam",
}
_EVERY = {
    "occurred_at": "2026-03-01T12:30:00Z",
    "recipient_name": "Clara Customer",
    "company_name": "Acme Deliveries",
}
# By their names templates are checked, by their values they are shown.
SAMPLES: Mapping[Event, Mapping[str, Any]] = {
    Event.STATUS_CHANGED: {
        **_EVERY,
        "status": "in_transit",
        "previous_status": "pickup_in_progress",
        "reason": None,
        "delivery": _DELIVERY,
    },
    Event.ARRIVING_SOON: {**_EVERY, "eta": "2026-03-01T12:42:00Z", "minutes": 12, "delivery": _DELIVERY},
    Event.LATE: {**_EVERY, "eta": "2026-03-01T14:25:00Z", "late_minutes": 25, "delivery": _DELIVERY},
    Event.DEVICE_SILENT: {
        **_EVERY,
        "device": {"id": "k3v9x0q2ma", "name": "GPS unit"},
        "vehicle": {"id": 5, "name": "Van 5"},
        "last_seen_at": "2026-03-01T12:00:00Z",
        "silent_minutes": 30,
    },
    Event.WEBHOOK_DISABLED: {
        **_EVERY,
        "webhook": {"id": 9, "url": "https://shop.example.com/…"},
        "failures": 20,
        "error": "HTTP status 500",
    },
    Event.DAILY_REPORT: {
        **_EVERY,
        "day": "2026-03-01",
        "deliveries": 120,
        "delivered": 112,
        "returned": 3,
        "failed": 5,
        "on_time_percent": 96.4,
        "distance_km": 1843.2,
    },
}
_GREETING = "Hello {{ recipient_name }},\n\n"
_SENDER = "\n\n{{ company_name }}\n"
_WINDOW = "{% if delivery.window %}Agreed: {{ delivery.window }}\n{% endif %}"
_ETA = "{% if eta %}Expected: {{ eta | datetime }}\n{% endif %}"
_REASON = "{% if reason %}Reason: {{ reason }}\n{% endif %}"


def _letter(subject: str, body: str) -> Texts:
    return Texts(subject, f"{_GREETING}{body}{_SENDER}")


DEFAULTS: Mapping[tuple[Event, Audience], Texts] = {
    (Event.STATUS_CHANGED, Audience.CUSTOMER): _letter(
        "Your delivery {{ delivery.reference }}: {{ status | words }}",
        "your delivery {{ delivery.reference }} is now {{ status | words }}.\n\n"
        + _REASON
        + _WINDOW
        + "To: {{ delivery.dropoff_address }}",
    ),
    (Event.STATUS_CHANGED, Audience.MANAGER): _letter(
        "Delivery {{ delivery.reference }}: {{ status | words }}",
        "delivery {{ delivery.reference }} (number {{ delivery.id }}) went from {{ previous_status | words }}"
        " to {{ status | words }} at {{ occurred_at | datetime }}.\n\n" + _REASON + _WINDOW,
    ),
    (Event.ARRIVING_SOON, Audience.CUSTOMER): _letter(
        "Your delivery {{ delivery.reference }} arrives in about {{ minutes }} minutes",
        "your delivery {{ delivery.reference }} will be with you at about {{ eta | time }}.\n\n"
        "To: {{ delivery.dropoff_address }}",
    ),
    (Event.ARRIVING_SOON, Audience.MANAGER): _letter(
        "Delivery {{ delivery.reference }} arrives in about {{ minutes }} minutes",
        "delivery {{ delivery.reference }} (number {{ delivery.id }}) is expected at {{ eta | time }}.",
    ),
    (Event.LATE, Audience.CUSTOMER): _letter(
        "Your delivery {{ delivery.reference }} is late",
        "we are sorry: your delivery {{ delivery.reference }} is late.\n\n" + _ETA + _WINDOW,
    ),
    (Event.LATE, Audience.MANAGER): _letter(
        "Delivery {{ delivery.reference }} is {{ late_minutes }} minutes late",
        "delivery {{ delivery.reference }} (number {{ delivery.id }}, {{ delivery.status | words }}) is"
        " {{ late_minutes }} minutes late.\n\n" + _ETA + _WINDOW,
    ),
    (Event.DEVICE_SILENT, Audience.MANAGER): _letter(
        "{% if vehicle.name %}{{ vehicle.name }}{% else %}{{ device.name }}{% endif %} has gone silent",
        "nothing has come from {{ device.name }} ({{ device.id }}) for {{ silent_minutes }} minutes.\n\n"
        "{% if vehicle.name %}Vehicle: {{ vehicle.name }}\n{% endif %}"
        "Last seen: {{ last_seen_at | datetime }}",
    ),
    (Event.WEBHOOK_DISABLED, Audience.MANAGER): _letter(
        "A webhook was disabled after {{ failures }} failures",
        "the webhook {{ webhook.id }} ({{ webhook.url }}) failed {{ failures }} times in a row and was"
        " disabled.\n\nLast error: {{ error }}\n\nEvents are kept for it for a day: repair the receiver, then"
        " enable it with POST /webhooks/{{ webhook.id }}/enable/",
    ),
    (Event.DAILY_REPORT, Audience.MANAGER): _letter(
        "Deliveries of {{ day }}",
        "the deliveries of {{ day }}:\n\n"
        "Deliveries: {{ deliveries }}\nDelivered: {{ delivered }}\nReturned: {{ returned }}\n"
        "Failed: {{ failed }}\nOn time: {{ on_time_percent }} %\nDistance: {{ distance_km }} km",
    ),
}
