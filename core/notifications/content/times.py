"""Times in e-mails, in the tenant's time zone. Pure.

Unlike a report, an e-mail does not name its time zone. A time therefore carries its offset where it would be
ambiguous: where the clocks show it twice, where the offset changes between it and another time of the same
e-mail, and where this server does not know the tenant's time zone, so that the time is in UTC.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from core.rules.times import time_zones, windows
from core.rules.times.time_zones import offset_words

NEAR = timedelta(days=2)  # readers do not compare the hours of times farther apart
_FORM = "%Y-%m-%d %H:%M"


class Moments:
    """The instants among an e-mail's facts, in one time zone."""

    def __init__(self, facts: Mapping[str, Any], time_zone: str) -> None:
        self._zone = time_zones.zone_of(time_zone)
        self._is_known = time_zones.is_known(time_zone)
        self._all = [time_zones.local_time(one, self._zone) for one in _instants(facts)]

    def words(self, value: Any, form: str) -> str:
        """Return an ISO 8601 text formatted by ``form``; anything else unchanged."""
        moment = _parsed(value)
        if moment is None:
            return str(value or "")
        if moment.tzinfo is None:
            return moment.strftime(form)  # a date, which has no time zone
        local = self._local(moment)
        return _shown(local, form, with_offset="%H" in form and self._needs_offset(local))

    def window(self, start: Any, end: Any) -> str | None:
        """Return an agreed window: ``… to …``, ``by …`` or ``from …``; None where there is none."""
        return windows.words(_parsed(start), _parsed(end), self._one, self._both)

    def _local(self, instant: datetime) -> datetime:
        return time_zones.local_time(instant, self._zone)

    def _one(self, instant: datetime) -> str:
        local = self._local(instant)
        return _shown(local, _FORM, with_offset=self._needs_offset(local))

    def _both(self, start: datetime, end: datetime) -> str:
        ends = self._local(start), self._local(end)
        with_offset = ends[0].utcoffset() != ends[1].utcoffset() or any(map(self._needs_offset, ends))
        if not with_offset and ends[0].date() == ends[1].date():
            return f"{ends[0]:%Y-%m-%d}, {ends[0]:%H:%M} to {ends[1]:%H:%M}"
        return " to ".join(_shown(local, _FORM, with_offset=with_offset) for local in ends)

    def _needs_offset(self, local: datetime) -> bool:
        if not self._is_known or time_zones.is_ambiguous(local):
            return True
        return any(
            other.utcoffset() != local.utcoffset() and abs(other - local) <= NEAR for other in self._all
        )


def with_window(facts: Mapping[str, Any], time_zone: str) -> dict[str, Any]:
    """Return the facts with the delivery's window in words as ``delivery.window``."""
    delivery = facts.get("delivery")
    if not isinstance(delivery, Mapping):
        return dict(facts)
    words = Moments(facts, time_zone).window(delivery.get("window_start"), delivery.get("window_end"))
    return {**facts, "delivery": {**delivery, "window": words}}


def _shown(local: datetime, form: str, *, with_offset: bool) -> str:
    return f"{local.strftime(form)} ({offset_words(local)})" if with_offset else local.strftime(form)


def _instants(facts: Mapping[str, Any]) -> Iterator[datetime]:
    for value in facts.values():
        if isinstance(value, Mapping):
            yield from _instants(value)
        elif (moment := _parsed(value)) is not None and moment.tzinfo is not None:
            yield moment


def _parsed(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
