"""The delivery's state machine as data: the statuses that may follow each status."""

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
    """Return the time from which the vehicle's positions belong to the delivery."""
    # Before it, the positions show the vehicle's stops at other customers.
    return started_at if vehicle_since is None else max(started_at, vehicle_since)


def allowed_from(current: Status) -> list[Status]:
    """Return the statuses that may follow, in the order of the enum."""
    return [status for status in Status if status in TRANSITIONS[current]]


def require_transition(current: Status, requested: Status) -> None:
    """Check a transition against the table. Raises `InvalidTransition`."""
    if requested not in TRANSITIONS[current]:
        raise InvalidTransition(current.value, requested.value, [s.value for s in allowed_from(current)])
