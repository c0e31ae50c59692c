"""Instants and durations as text, in one time zone."""

from collections.abc import Iterable
from datetime import date, datetime

from core.rules.times import time_zones, windows
from core.rules.times.time_zones import offset_words

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Clock:
    """Formats a zone's times; if its UTC offset changes between the instants, every time shows its
    own.

    A zone that this machine does not know is replaced by UTC, and the title says so.
    """

    def __init__(self, zone: str, instants: Iterable[datetime | None]) -> None:
        self.zone = zone
        self._zone = time_zones.zone_of(zone)
        locals_ = [self.local(instant) for instant in instants if instant is not None]
        self._names = sorted({offset_words(instant) for instant in locals_})

    @property
    def title(self) -> str:
        """Return the zone, as ``Europe/Berlin (UTC+01:00)``."""
        if not time_zones.is_known(self.zone):
            return f"UTC (this server does not know the time zone {self.zone})"
        return f"{self.zone} ({', '.join(self._names)})" if self._names else self.zone

    def local(self, instant: datetime) -> datetime:
        return time_zones.local_time(instant, self._zone)

    def date(self, instant: datetime) -> str:
        return date_words(self.local(instant).date())

    def time(self, instant: datetime) -> str:
        local = self.local(instant)
        return f"{local:%H:%M} {offset_words(local)}" if len(self._names) > 1 else f"{local:%H:%M}"

    def tick(self, instant: datetime) -> str:
        """Format an axis label: the time, and at midnight the day that begins."""
        local = self.local(instant)
        return f"{local:%H:%M}" if (local.hour, local.minute) != (0, 0) else f"{local.day} {local:%b}"

    def both(self, instant: datetime) -> str:
        return f"{self.date(instant)}, {self.time(instant)}"

    def span(self, start: datetime, end: datetime) -> str:
        """Format a span, with the date once if both ends have the same."""
        until = self.time(end) if self._is_one_day(start, end) else self.both(end)
        return f"{self.both(start)} – {until}"  # noqa: RUF001

    def window(self, start: datetime | None, end: datetime | None) -> str | None:
        """Return the agreed window with its dates: a span, ``by …`` or ``from …``; None without a window."""
        return windows.words(start, end, self.both, self.span)

    def window_of_day(self, start: datetime | None, end: datetime | None, day: datetime) -> str | None:
        """Return `window` without dates if it lies within the local day of ``day``."""
        if not all(self._is_one_day(one, day) for one in (start, end) if one is not None):
            return self.window(start, end)
        return windows.words(start, end, self.time, self._times)

    def _times(self, start: datetime, end: datetime) -> str:
        return f"{self.time(start)} – {self.time(end)}"  # noqa: RUF001

    def _is_one_day(self, one: datetime, other: datetime) -> bool:
        return self.local(one).date() == self.local(other).date()


def date_words(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def weekday_words(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B %Y}"


def duration(seconds: float) -> str:
    """Format a duration in at most two units: ``45 s``, ``12 min``, ``1 h 05 min``, ``2 d 3 h``."""
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
