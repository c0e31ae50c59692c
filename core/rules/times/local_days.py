"""A company's days, in its own time zone, which may have 23, 24 or 25 hours. Pure.

A local time that the clocks skip is the instant at which they do; one that comes twice is its first.
"""

from datetime import UTC, date, datetime, time, timedelta

from core.rules.times.time_zones import zone_of

DAY = timedelta(days=1)


def bounds(day: date, zone: str) -> tuple[datetime, datetime]:
    """The day's first instant and the first one after it, in UTC."""
    return at(day, zone), at(day + DAY, zone)


def at(day: date, zone: str, hour: int = 0) -> datetime:
    """The instant, in UTC, of a full hour of a local day."""
    return datetime.combine(day, time(hour), zone_of(zone)).astimezone(UTC)


def of(instant: datetime, zone: str) -> date:
    """The local day of an instant."""
    return instant.astimezone(zone_of(zone)).date()


def last_over(now: datetime, zone: str, hour: int) -> date:
    """The newest local day that ended and after which the clocks have reached ``hour``."""
    today = of(now, zone)
    return today - DAY if at(today, zone, hour) <= now else today - 2 * DAY
