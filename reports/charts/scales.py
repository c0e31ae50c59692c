"""Round numbers for axes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import floor, log10

_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


def round_down(value: float) -> float:
    """Return the greatest of 1, 2 and 5 times a power of ten that is not above ``value`` (> 0)."""
    power: float = 10.0 ** floor(log10(value))
    return next(step * power for step in (5, 2, 1) if step * power <= value * (1 + 1e-9))


def ticks(highest: float, wanted: int = 4) -> list[float]:
    """Return round ticks from 0 to the first not below ``highest``, in about ``wanted`` steps."""
    step = round_down(max(highest, 1e-9) / wanted)
    step = step if highest / step <= wanted + 1 else step * 2
    count = max(1, -int(-highest // step))
    return [index * step for index in range(count + 1)]


def instants(start: datetime, end: datetime, wanted: int = 8) -> list[datetime]:
    """Return round local times between two instants of one zone; midnights if they are days apart.

    A local time that the clocks skip is left out, one that occurs twice is included twice.
    """
    minutes = (end.astimezone(UTC) - start.astimezone(UTC)).total_seconds() / 60
    step = next((one for one in _MINUTES if minutes / one <= wanted), None)
    if step is None:
        step = 1440 * max(1, round(minutes / 1440 / wanted))
    # Compare local times: across a change of the clocks the end may read earlier than the start.
    first = min(start, end).replace(hour=0, minute=0, second=0, microsecond=0)
    skipped = int((min(start, end) - first) / timedelta(minutes=step))
    walls = [first + timedelta(minutes=step) * (skipped + index) for index in range(wanted + 3)]
    between = {utc for wall in walls for utc in _at_wall(wall) if _is_between(start, utc, end)}
    return [utc.astimezone(start.tzinfo) for utc in sorted(between)]


def _at_wall(wall: datetime) -> Iterator[datetime]:
    """Yield the instants at which a zone's clocks show a local time: none, one or two."""
    for fold in (0, 1):
        utc = wall.replace(fold=fold).astimezone(UTC)
        if utc.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None):
            yield utc


def _is_between(start: datetime, utc: datetime, end: datetime) -> bool:
    return start.astimezone(UTC) <= utc <= end.astimezone(UTC)


def length_words(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
