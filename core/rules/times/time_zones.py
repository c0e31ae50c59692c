"""Time zones by their IANA names, as far as this machine knows them, and a company's days in them. Pure.

A local day has 23 to 25 hours. A local time that the clocks skip is the instant at which they do; one that
comes twice is its first.

The tz database renames and drops zones, and machines have different versions of it. A zone stored years ago
must therefore never stop a report, an e-mail or a night: `zone_of` falls back to UTC and logs a warning.
"""

import logging
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

DAY = timedelta(days=1)
CAUGHT_UP_DAYS = 7  # nights older than this, after a long downtime or many failures, are skipped

log = logging.getLogger(__name__)


def zone_of(name: str) -> tzinfo:
    """Return the zone, or UTC with a warning (once per name and process) where it is unknown here."""
    found = _find(name)
    if found is None:
        _warn(name)
        return UTC
    return found


def is_known(name: str) -> bool:
    return _find(name) is not None


def is_accepted(name: str) -> bool:
    """Whether a tenant may choose it: a name of the IANA database, in its own spelling."""
    return name == "UTC" or name in available_timezones()


def local_time(instant: datetime, zone: tzinfo) -> datetime:
    """Return the zone's time, or UTC's at the calendar's ends, where the zone has no date for it."""
    try:
        return instant.astimezone(zone)
    except OverflowError:
        return instant.astimezone(UTC)


def is_ambiguous(local: datetime) -> bool:
    """Whether the zone's clocks show this time twice, because they were set back."""
    return local.replace(fold=1 - local.fold).utcoffset() != local.utcoffset()


def offset_words(local: datetime) -> str:
    """Return the offset as ``UTC+02:00``."""
    minutes = round((local.utcoffset() or timedelta(0)).total_seconds() / 60)
    sign = "+" if minutes >= 0 else "-"
    return f"UTC{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def day_of(instant: datetime, zone: str) -> date:
    """Return the local day of an instant."""
    return instant.astimezone(zone_of(zone)).date()


def hour_of_day(day: date, zone: str, hour: int = 0) -> datetime:
    """Return the instant, in UTC, of a full hour of a local day."""
    return datetime.combine(day, time(hour), zone_of(zone)).astimezone(UTC)


def day_bounds(day: date, zone: str) -> tuple[datetime, datetime]:
    """Return the day's first instant and the first one after it, in UTC."""
    return hour_of_day(day, zone), hour_of_day(day + DAY, zone)


def last_day_over(now: datetime, zone: str, hour: int) -> date:
    """Return the newest local day that ended and after which the clocks have reached ``hour``."""
    today = day_of(now, zone)
    return today - DAY if hour_of_day(today, zone, hour) <= now else today - 2 * DAY


def missing_days(last: date, since: date, done: Collection[date]) -> list[date]:
    """Return the days up to ``last`` that are not done.

    They begin at the first day that is done, but not before ``since``, and span at most `CAUGHT_UP_DAYS`.
    """
    oldest = max(last - timedelta(days=CAUGHT_UP_DAYS - 1), min(done, default=last), since)
    days = [oldest + timedelta(days=number) for number in range((last - oldest).days + 1)]
    return [day for day in days if day not in done]


def _find(name: str) -> tzinfo | None:
    if name == "UTC":
        return UTC  # also on a machine without any tz database
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Unknown; no possible name, or a damaged file; a folder, or a name too long for the file system.
        return None


@lru_cache(maxsize=256)
def _warn(name: str) -> None:
    log.warning("time_zone_unknown name=%r used=UTC", name)
