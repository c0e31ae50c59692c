"""Time zones by their IANA names, as far as this machine knows them.

The tz database renames and drops zones, and machines have different versions of it. A zone stored years ago
must therefore never stop a report, an e-mail or a night: `zone_of` falls back to UTC and logs a warning.
"""

import logging
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

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
