"""The figures of one delivery's report: phases, punctuality, active time and load. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.load_order import LoadItem
from core.rules.enums import Status
from core.rules.lifecycle import FINAL


class Phase(msgspec.Struct, frozen=True):
    """The time in one status. ``ended_at`` is None for the present status, which is counted up to now."""

    status: Status
    started_at: datetime
    ended_at: datetime | None
    seconds: float


class Punctuality(msgspec.Struct, frozen=True):
    """Punctuality by the window's end. ``on_time`` is None while it is undecided, or without a window."""

    window_start: datetime | None
    window_end: datetime | None
    on_time: bool | None
    late_seconds: float | None


class LoadSummary(msgspec.Struct, frozen=True):
    """Totals over the items; a missing weight or volume counts as 0."""

    items: int
    quantity: int
    weight_kg: float
    volume_m3: float


def phases(timeline: Sequence[DeliveryCheckpoint], now: datetime) -> list[Phase]:
    """Return one phase per status; none is negative, although a phone's clock may be wrong."""
    found = [
        _phase(checkpoint, following.occurred_at, following.occurred_at)
        for checkpoint, following in pairwise(timeline)
    ]
    if timeline and timeline[-1].status not in FINAL:
        found.append(_phase(timeline[-1], None, now))
    return found


def _phase(checkpoint: DeliveryCheckpoint, ended_at: datetime | None, counted_to: datetime) -> Phase:
    seconds = max(0.0, (counted_to - checkpoint.occurred_at).total_seconds())
    return Phase(checkpoint.status, checkpoint.occurred_at, ended_at, seconds)


def punctuality(delivery: Delivery, now: datetime) -> Punctuality:
    """Return the punctuality. A failed or returned delivery is never on time, however early it ended."""
    if delivery.window_end is None:
        return Punctuality(delivery.window_start, None, None, None)
    late = max((delivery.ended_at or now) - delivery.window_end, timedelta(0))
    on_time: bool | None = None
    if delivery.status is Status.DELIVERED:
        on_time = not late
    elif late or delivery.status in FINAL:
        on_time = False
    return Punctuality(delivery.window_start, delivery.window_end, on_time, late.total_seconds())


def active_seconds(delivery: Delivery, now: datetime) -> float | None:
    """Return the seconds from the pickup's start to the end, or to now; None before the start."""
    if delivery.started_at is None:
        return None
    return max(0.0, ((delivery.ended_at or now) - delivery.started_at).total_seconds())


def load(items: Iterable[LoadItem]) -> LoadSummary:
    rows = list(items)
    return LoadSummary(
        items=len(rows),
        quantity=sum(row.quantity for row in rows),
        weight_kg=sum(row.weight_kg or 0.0 for row in rows),
        volume_m3=sum(row.volume_m3 or 0.0 for row in rows),
    )
