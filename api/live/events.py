"""What a watcher is sent: facts turned into flat JSON with ``type``. Pure.

Each event is encoded once a group, and twice at most: customers are told less than staff.
"""

from datetime import datetime
from typing import Literal

import msgspec

from core.rules.eta import eta
from core.rules.facts import PositionFact, StatusFact

STATUS = "status"


class LocationUpdate(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="location_update", tag_field="type"
):
    """Degrees, km/h, UTC instants. ``eta`` counts from ``fix_time``."""

    delivery: int
    vehicle: int
    latitude: float
    longitude: float
    fix_time: datetime
    speed_kmh: float | None = None
    course_deg: float | None = None
    eta: datetime | None = None


class StatusUpdate(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="status_update", tag_field="type"
):
    """``kind`` is ``status`` or ``assignment``; ``checkpoint_id`` orders the updates of one delivery."""

    delivery: int
    status: str
    kind: str
    checkpoint_id: int
    occurred_at: datetime
    recorded_at: datetime
    reason: str | None = None
    vehicle: int | None = None
    driver: int | None = None


class LivePosition(msgspec.Struct, frozen=True):
    """Where and when a van was: enough to tell whether another position is newer."""

    vehicle: int
    fix_time: datetime

    def is_after(self, last: "LivePosition | None") -> bool:
        """Clocks of two vehicles cannot be compared: another vehicle's position always counts as newer."""
        return last is None or self.vehicle != last.vehicle or self.fix_time > last.fix_time


class LocationEvent(msgspec.Struct, frozen=True):
    text: str
    seen: LivePosition


class StatusEvent(msgspec.Struct, frozen=True):
    """``for_customer`` is None for what only staff are told."""

    checkpoint_id: int
    for_staff: str
    for_customer: str | None


class ClientMessage(msgspec.Struct, frozen=True):
    """What a client may say: ``auth``, ``ping`` or ``pong``."""

    type: str
    token: str = ""
    last_checkpoint_id: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ClientMessage).decode

PING = '{"type":"ping"}'
PONG = '{"type":"pong"}'
RESYNC = '{"type":"resync"}'

Complaint = Literal["NotText", "NotUnderstood"]


def sighting(fact: PositionFact) -> LivePosition:
    return LivePosition(fact.vehicle, fact.fix_time)


def location_event(fact: PositionFact, delivery: int, dropoff: tuple[float, float] | None) -> LocationEvent:
    """``dropoff`` is latitude, longitude in degrees; without it there is no ``eta``."""
    update = LocationUpdate(
        delivery=delivery,
        vehicle=fact.vehicle,
        latitude=fact.latitude,
        longitude=fact.longitude,
        fix_time=fact.fix_time,
        speed_kmh=fact.speed_kmh,
        course_deg=fact.course_deg,
        eta=eta(fact.fix_time, fact.latitude, fact.longitude, fact.smoothed_speed_kmh, dropoff),
    )
    return LocationEvent(_encode(update).decode(), sighting(fact))


def status_event(fact: StatusFact) -> StatusEvent:
    """Customers get no assignments and no driver's id: who drives is the company's affair."""
    staff = StatusUpdate(
        delivery=fact.delivery,
        status=fact.status,
        kind=fact.kind,
        checkpoint_id=fact.checkpoint,
        occurred_at=fact.occurred_at,
        recorded_at=fact.recorded_at,
        reason=fact.reason,
        vehicle=fact.vehicle,
        driver=fact.driver,
    )
    customer = None
    if fact.kind == STATUS:
        customer = _encode(msgspec.structs.replace(staff, vehicle=None, driver=None)).decode()
    return StatusEvent(fact.checkpoint, _encode(staff).decode(), customer)


def complaint(error: Complaint) -> str:
    """The answer to a message that we cannot use."""
    return _encode({"type": "error", "error": error}).decode()


def client_message(text: str) -> ClientMessage | None:
    """None for whatever is not a JSON object with a ``type``."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
