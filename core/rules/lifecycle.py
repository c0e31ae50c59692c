"""The delivery's state machine as data, and the rules that a status change must meet."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timedelta

from core.errors import Conflict, InvalidTransition, InvalidValue, PreconditionFailed
from core.rules.enums import Status
from core.rules.fix import FUTURE_LIMIT, position_problem

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
OFFLINE_LIMIT = timedelta(days=30)


def served_since(started_at: datetime, vehicle_since: datetime | None) -> datetime:
    """Return the time from which the vehicle's positions belong to the delivery."""
    # Before it, the positions show the vehicle's stops at other customers.
    return started_at if vehicle_since is None else max(started_at, vehicle_since)


def allowed_from(current: Status) -> list[Status]:
    """Return the statuses that may follow, in the order of the enum."""
    return [status for status in Status if status in TRANSITIONS[current]]


def require_version(present: int, versions: Container[int] | None) -> None:
    """Check the version against those that the client allows (None: any). Raises `PreconditionFailed`."""
    if versions is not None and present not in versions:
        raise PreconditionFailed(present)


def require_transition(current: Status, requested: Status) -> None:
    """Check a transition against the table. Raises `InvalidTransition`."""
    if requested not in TRANSITIONS[current]:
        raise InvalidTransition(current.value, requested.value, [s.value for s in allowed_from(current)])


def reported_time(sent: datetime | None, earlier: Iterable[datetime], now: datetime) -> datetime:
    """Return when a change happened by the reporter's clock, which may be wrong or long offline.

    ``earlier`` are the times of the previous statuses. The time is clamped: never later than now nor earlier
    than the previous status, so history stays in order. Raises `InvalidValue`.
    """
    if sent is None:
        return now
    if not now - OFFLINE_LIMIT <= sent <= now + FUTURE_LIMIT:
        raise InvalidValue("occurred_at", "must lie within the last 30 days, and not in the future")
    return min(max((*earlier, sent)), now)


def require_details(
    status: Status, reason: str | None, location: tuple[float, float] | None, unassigned: list[str]
) -> None:
    """Check what the new status needs; ``unassigned`` names the delivery's missing driver or vehicle.

    Raises `InvalidValue`, `Conflict`.
    """
    if status in NEEDS_REASON and not (reason or "").strip():
        raise InvalidValue("reason", f"say why the delivery is {status}")
    if location is not None and (problem := position_problem(*location)):
        raise InvalidValue("location", problem)
    if status is Status.PICKUP_IN_PROGRESS and unassigned:
        raise Conflict("Assign a driver and a vehicle before the pickup starts.", missing=unassigned)
