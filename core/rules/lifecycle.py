"""A delivery's life as data: which status may follow which."""

from collections.abc import Mapping
from datetime import datetime

from core.errors import InvalidTransition
from core.rules.enums import Status

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.PICKUP_IN_PROGRESS, Status.FAILED}),
    Status.PICKUP_IN_PROGRESS: frozenset({Status.IN_TRANSIT, Status.FAILED}),
    Status.IN_TRANSIT: frozenset({Status.DELIVERED, Status.RETURNED, Status.FAILED}),
    Status.DELIVERED: frozenset(),
    Status.RETURNED: frozenset(),
    Status.FAILED: frozenset(),
}
UNDER_WAY = frozenset({Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT})
FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)
NEEDS_REASON = frozenset({Status.FAILED, Status.RETURNED})


def served_since(started_at: datetime, vehicle_since: datetime | None) -> datetime:
    """From when on the vehicle's positions are the delivery's: before, they are another customer's stops."""
    return started_at if vehicle_since is None else max(started_at, vehicle_since)


def allowed_from(current: Status) -> list[Status]:
    """What may follow, in the order of the enum."""
    return [status for status in Status if status in TRANSITIONS[current]]


def require_transition(current: Status, requested: Status) -> None:
    """Raises `InvalidTransition` unless the table allows it."""
    if requested not in TRANSITIONS[current]:
        raise InvalidTransition(current.value, requested.value, [s.value for s in allowed_from(current)])
