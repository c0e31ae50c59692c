"""The figures of a company's day, summed up from counted cells. Pure.

A delivery counts for the local day and hour in which it ended. On time means delivered by the window's end;
the rate is over all deliveries with a window that ended, so that a failed or returned one lowers it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from core.rules.enums import Status
from core.rules.text.spelling import folded

HOUR = timedelta(hours=1)
MAXIMUM_PROBLEMS = 100
MAXIMUM_REASONS = 20
LONGEST_REASON = 200
NO_REASON = "no reason given"


class Tally(msgspec.Struct):
    """Counts of ended deliveries. ``late_seconds`` is the sum over those that ended after their window."""

    deliveries: int = 0
    delivered: int = 0
    returned: int = 0
    failed: int = 0
    with_window: int = 0
    on_time: int = 0
    late: int = 0
    delivered_late: int = 0
    late_seconds: float = 0.0

    @property
    def on_time_percent(self) -> float | None:
        """Return the rate, or None if no delivery had a window."""
        return round(100 * self.on_time / self.with_window, 1) if self.with_window else None


class Cell(msgspec.Struct, frozen=True):
    """A count of deliveries that share all these properties. ``hour`` counts from the day's start."""

    driver_id: int | None
    vehicle_id: int | None
    status: Status
    hour: int
    deliveries: int
    with_window: int
    on_time: int
    late: int
    delivered_late: int
    late_seconds: float


class Hour(msgspec.Struct):
    """One hour from ``start`` on; a day has 23 to 25 of them."""

    start: datetime
    tally: Tally


class Share(msgspec.Struct):
    """A driver's or vehicle's part.

    Drivers' distance is with deliveries under way, vehicles' of the whole day.
    """

    id: int | None
    name: str
    tally: Tally
    distance_m: float


class Reason(msgspec.Struct):
    """Why deliveries failed or were returned; ``delivery_ids`` lists all of them."""

    reason: str
    status: Status
    delivery_ids: list[int]


class ProblemDelivery(msgspec.Struct):
    """A delivery that was late, failed or returned."""

    delivery_id: int
    reference: str
    status: Status
    ended_at: datetime
    late_seconds: float
    reason: str | None


class DayFigures(msgspec.Struct):
    """``planned`` counts deliveries whose time (window start, else creation) lies in the day.

    ``under_way`` (started, not ended) and ``overdue`` (window over, not ended) are as at the day's end,
    or now while it lasts.
    """

    planned: int
    under_way: int
    overdue: int
    total: Tally
    distance_m: float
    hours: list[Hour]
    drivers: list[Share]
    vehicles: list[Share]
    reasons: list[Reason]
    problems: list[ProblemDelivery]
    problems_left_out: int


def summed(cells: Iterable[Cell]) -> Tally:
    tally = Tally()
    for cell in cells:
        tally.deliveries += cell.deliveries
        setattr(tally, cell.status.value, getattr(tally, cell.status.value) + cell.deliveries)
        tally.with_window += cell.with_window
        tally.on_time += cell.on_time
        tally.late += cell.late
        tally.delivered_late += cell.delivered_late
        tally.late_seconds += cell.late_seconds
    return tally


def hours(cells: Sequence[Cell], starts_at: datetime, ends_at: datetime) -> list[Hour]:
    """Return every hour of the day, including those in which no delivery ended."""
    grouped = _grouped(cells, lambda cell: cell.hour)
    count = -((starts_at - ends_at) // HOUR)
    return [Hour(starts_at + number * HOUR, summed(grouped[number])) for number in range(count)]


def shares(
    cells: Sequence[Cell],
    key: Callable[[Cell], int | None],
    names: Mapping[int, str],
    distances_m: Mapping[int, float],
) -> list[Share]:
    """Return each driver or vehicle that ended a delivery or drove, most deliveries first."""
    grouped = _grouped(cells, key)
    driven = {id for id, metres in distances_m.items() if metres}
    found = [
        Share(
            id,
            names.get(id, f"no. {id}") if id is not None else "nobody",
            summed(grouped[id]),
            round(distances_m.get(id, 0.0), 1) if id is not None else 0.0,
        )
        for id in grouped.keys() | driven
    ]
    return sorted(found, key=lambda share: (-share.tally.deliveries, -share.distance_m, share.name))


def reasons(failures: Iterable[tuple[int, Status, str | None]]) -> list[Reason]:
    """Return reasons by frequency.

    Those that differ only in case and blanks are one; rare ones are combined.
    """
    grouped: dict[tuple[Status, str], Reason] = {}
    for delivery_id, status, stated in failures:
        words = " ".join((stated or NO_REASON).split())[:LONGEST_REASON]
        reason = grouped.setdefault((status, folded(words)), Reason(words, status, []))
        reason.delivery_ids.append(delivery_id)
    ordered = sorted(grouped.values(), key=lambda one: (-len(one.delivery_ids), one.reason))
    kept, rare = ordered[:MAXIMUM_REASONS], ordered[MAXIMUM_REASONS:]
    for status in (Status.FAILED, Status.RETURNED):
        ids = [id for one in rare if one.status is status for id in one.delivery_ids]
        if ids:
            kept.append(Reason("other reasons", status, ids))
    return kept


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], int | None]) -> defaultdict[int | None, list[Cell]]:
    grouped: defaultdict[int | None, list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[key(cell)].append(cell)
    return grouped
