"""The MQTT documents published after a commit: validated, with ids only, never a name or a phone number."""

from datetime import datetime
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class PositionFact(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The newest validated position of a vehicle and the deliveries under way on it.

    ``customers`` and ``drivers`` are those of ``deliveries``, in their order, when the position was stored.
    """

    company: str
    vehicle: int
    fix_time: Instant
    latitude: float
    longitude: float
    speed_kmh: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    smoothed_speed_kmh: float | None = None
    deliveries: tuple[int, ...] = ()
    customers: tuple[int, ...] = ()
    drivers: tuple[int | None, ...] = ()


class StatusFact(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A delivery after a status change or an assignment; ``checkpoint`` orders a delivery's facts."""

    company: str
    delivery: int
    checkpoint: int
    kind: str
    status: str
    vehicle: int | None = None
    driver: int | None = None
    customer: int | None = None
    reason: str | None = None
    occurred_at: Instant
    recorded_at: Instant


class AlertFact(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An alert for operators; ``kind`` is one level of the topic, ``detail`` is text for users."""

    company: str
    kind: str
    vehicle: int
    detail: str
    delivery: int | None = None
    device: str | None = None
    occurred_at: Instant
