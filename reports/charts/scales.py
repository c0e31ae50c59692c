"""Round numbers for axes."""

from datetime import datetime, timedelta
from math import floor, log10

_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


def round_down(value: float) -> float:
    """The greatest of 1, 2 and 5 times a power of ten that is not above ``value`` (> 0)."""
    power: float = 10.0 ** floor(log10(value))
    return next(step * power for step in (5, 2, 1) if step * power <= value * (1 + 1e-9))


def ticks(highest: float, wanted: int = 4) -> list[float]:
    """From 0 up to the first that is not below ``highest``, in about so many round steps."""
    step = round_down(max(highest, 1e-9) / wanted)
    step = step if highest / step <= wanted + 1 else step * 2
    count = max(1, -int(-highest // step))
    return [index * step for index in range(count + 1)]


def instants(start: datetime, end: datetime, wanted: int = 8) -> list[datetime]:
    """Round times of day between two instants of one zone; of days longer than that, their midnights."""
    minutes = (end - start).total_seconds() / 60
    step = next((one for one in _MINUTES if minutes / one <= wanted), None)
    if step is None:
        step = 1440 * max(1, round(minutes / 1440 / wanted))
    first = start.replace(hour=0, minute=0, second=0, microsecond=0)
    skipped = max(0, int((start - first) / timedelta(minutes=step)))
    found = [first + timedelta(minutes=step) * (skipped + index) for index in range(wanted + 3)]
    return [instant for instant in found if start <= instant <= end]


def length_words(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
