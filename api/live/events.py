"""Turn facts into the flat JSON events, tagged with ``type``, that watchers receive. Pure functions.

An event is encoded once per group, or twice where customers get less than staff.
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
    """A vehicle's newest position: degrees, km/h, UTC instants. ``eta`` is computed from ``fix_time``."""

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
    """A checkpoint; ``kind`` is ``status`` or ``assignment``. ``checkpoint_id`` orders the events."""

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
    """Vehicle and fix time of a position: enough to decide whether another position is newer."""

    vehicle: int
    fix_time: datetime

    def is_after(self, last: "LivePosition | None") -> bool:
        """Return whether this position is newer than ``last``.

        Two vehicles' clocks cannot be compared, so a position of another vehicle always counts as newer.
        """
        return last is None or self.vehicle != last.vehicle or self.fix_time > last.fix_time


class LocationEvent(msgspec.Struct, frozen=True):
    text: str
    seen: LivePosition


class StatusEvent(msgspec.Struct, frozen=True):
    """An encoded checkpoint. ``for_customer`` is None for events that only staff receive."""

    checkpoint_id: int
    for_staff: str
    for_customer: str | None


class ClientMessage(msgspec.Struct, frozen=True):
    """A message from a client; ``type`` is ``auth``, ``ping`` or ``pong``."""

    type: str
    token: str = ""
    last_checkpoint_id: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ClientMessage).decode

PING = '{"type":"ping"}'
PONG = '{"type":"pong"}'
RESYNC = '{"type":"resync"}'

Complaint = Literal["NotText", "NotUnderstood"]


def location_event(fact: PositionFact, delivery: int, dropoff: tuple[float, float] | None) -> LocationEvent:
    """Return the encoded position; without ``dropoff`` (latitude, longitude in degrees) it has no ``eta``."""
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
    return LocationEvent(_encode(update).decode(), LivePosition(fact.vehicle, fact.fix_time))


def status_event(fact: StatusFact) -> StatusEvent:
    """Return the encoded checkpoint, for staff and for customers."""
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
    # Customers get no assignments and no driver id: which driver serves a delivery is internal to the
    # company.
    customer = None
    if fact.kind == STATUS:
        customer = _encode(msgspec.structs.replace(staff, vehicle=None, driver=None)).decode()
    return StatusEvent(fact.checkpoint, _encode(staff).decode(), customer)


def complaint(error: Complaint) -> str:
    """Return the error event that answers an unusable client message."""
    return _encode({"type": "error", "error": error}).decode()


def client_message(text: str) -> ClientMessage | None:
    """Parse a client's message; return None unless it is a JSON object with a ``type``."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
