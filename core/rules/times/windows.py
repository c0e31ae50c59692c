"""The agreed window of a delivery in words: either end may be open. Pure."""

from collections.abc import Callable
from datetime import datetime


def words(
    start: datetime | None,
    end: datetime | None,
    one: Callable[[datetime], str],
    both: Callable[[datetime, datetime], str],
) -> str | None:
    """Return ``both(start, end)``, ``by …`` or ``from …``; None where nothing was agreed."""
    if start is not None and end is not None:
        return both(start, end)
    if end is not None:
        return f"by {one(end)}"
    return f"from {one(start)}" if start is not None else None
