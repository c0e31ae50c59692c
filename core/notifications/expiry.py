"""How long a message is worth sending, by what it tells and to whom. Pure.

People act on what they read: a late delivery or a silent device of hours ago is nothing to act on, while a
day's report is read a week later. A machine keeps a record, so webhooks get all but near arrivals for a day.
Links to set a password have a validity of their own (`core.accounts.links`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from core.notifications.kinds import Audience, Event

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OF_EMAILS: Mapping[Event, timedelta] = {
    Event.STATUS_CHANGED: DAY,
    Event.ARRIVING_SOON: 15 * MINUTE,
    Event.LATE: 2 * HOUR,
    Event.DEVICE_SILENT: 2 * HOUR,
    Event.WEBHOOK_DISABLED: 7 * DAY,
    Event.DAILY_REPORT: 7 * DAY,
    Event.TEST: HOUR,
}
OF_CALLS: Mapping[Event, timedelta] = {
    **dict.fromkeys(Event, DAY),
    Event.ARRIVING_SOON: OF_EMAILS[Event.ARRIVING_SOON],
    Event.TEST: HOUR,
}
SHORTEST = MINUTE  # a van before the door: the sender needs a moment too
# Of no use once their delivery has ended.
UNTIL_THE_END = frozenset({Event.ARRIVING_SOON, Event.LATE})
HAS_ENDED = "not sent before its delivery ended"


def life(event: Event, audience: Audience) -> timedelta:
    return (OF_CALLS if audience is Audience.WEBHOOK else OF_EMAILS)[event]


def expires_at(
    event: Event, audience: Audience, now: datetime, arrives_at: datetime | None = None
) -> datetime:
    """An arrival's message ends with the arrival that it announces, if that is sooner."""
    longest = now + life(event, audience)
    if event is not Event.ARRIVING_SOON or arrives_at is None:
        return longest
    return max(now + SHORTEST, min(longest, arrives_at))


def why_expired(event: Event, audience: Audience) -> str:
    """What stands in ``error`` of one that was not sent in time; what kept it follows, if that is known."""
    if event is Event.ARRIVING_SOON:
        return "not sent before the announced arrival, or within 15 minutes"
    return f"not sent within {_words(life(event, audience))}"


def _words(span: timedelta) -> str:
    number, unit = (span // DAY, "day") if span >= DAY else (span // HOUR, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"
