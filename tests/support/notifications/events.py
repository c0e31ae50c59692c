"""Notification events with sane values."""

from datetime import datetime

import msgspec

from core.models.delivery import Delivery
from core.notifications.events import (
    ArrivingSoon,
    DeliveryAtEvent,
    DeliveryLate,
    DeviceSilent,
    NamedDevice,
    NamedVehicle,
)


def soon(delivery: Delivery, eta: datetime) -> ArrivingSoon:
    return ArrivingSoon(eta=eta, minutes=9, delivery=_now(delivery))


def late(delivery: Delivery) -> DeliveryLate:
    return DeliveryLate(eta=None, late_minutes=5, delivery=_now(delivery))


def silent() -> DeviceSilent:
    return DeviceSilent(
        device=NamedDevice(id="k3v9x0q2ma", name="GPS unit"),
        vehicle=NamedVehicle(id=5, name="Van 5"),
        last_seen_at=None,
        silent_minutes=30,
    )


def _now(delivery: Delivery) -> DeliveryAtEvent:
    return msgspec.convert(delivery, DeliveryAtEvent, from_attributes=True)
