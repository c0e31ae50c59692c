"""Instants and spans of time in words, in one zone."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Clock:
    """A zone's times. Where its offset changes between the instants it is told of, each time says its own."""

    def __init__(self, zone: str, instants: Iterable[datetime | None]) -> None:
        self.zone = zone
        self._zone = ZoneInfo(zone)
        given = [self.local(instant) for instant in instants if instant is not None]
        self._names = sorted({_offset(instant) for instant in given})

    @property
    def title(self) -> str:
        """As ``Europe/Berlin (UTC+01:00)``."""
        return f"{self.zone} ({', '.join(self._names)})" if self._names else self.zone

    def local(self, instant: datetime) -> datetime:
        """In UTC at the calendar's ends, where the zone has no date for it any more."""
        try:
            return instant.astimezone(self._zone)
        except OverflowError:
            return instant.astimezone(UTC)

    def date(self, instant: datetime) -> str:
        return date_words(self.local(instant).date())

    def time(self, instant: datetime) -> str:
        local = self.local(instant)
        return f"{local:%H:%M} {_offset(local)}" if len(self._names) > 1 else f"{local:%H:%M}"

    def tick(self, instant: datetime) -> str:
        """For an axis: the time, and at midnight the day that begins."""
        local = self.local(instant)
        return f"{local:%H:%M}" if (local.hour, local.minute) != (0, 0) else f"{local.day} {local:%b}"

    def both(self, instant: datetime) -> str:
        return f"{self.date(instant)}, {self.time(instant)}"

    def span(self, start: datetime, end: datetime) -> str:
        """The date once where it is the same."""
        is_one_day = self.local(start).date() == self.local(end).date()
        return f"{self.both(start)} – {self.time(end) if is_one_day else self.both(end)}"  # noqa: RUF001


def date_words(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def weekday_words(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B %Y}"


def duration(seconds: float) -> str:
    """Two units at most: ``45 s``, ``12 min``, ``1 h 05 min``, ``2 d 3 h``."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes = round(whole / _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min"
    if minutes * _MINUTE < _DAY:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(whole / _HOUR)
    return f"{hours // 24} d {hours % 24} h"


def distance(metres: float) -> str:
    return f"{metres / 1000:.1f} km" if metres >= 1000 else f"{metres:.0f} m"


def _offset(local: datetime) -> str:
    offset = local.utcoffset() or timedelta(0)
    minutes = round(offset.total_seconds() / _MINUTE)
    sign = "+" if minutes >= 0 else "-"
    return f"UTC{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
