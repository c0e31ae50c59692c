"""How long a notification is worth sending, by event and audience. Pure.

People act on an e-mail: a late delivery or a silent device of hours ago is no longer actionable, while a
daily report is still read a week later. Webhook receivers keep records, so they get everything except near
arrivals for a day. Links to set a password have a lifetime of their own (`core.accounts.links`).
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
SHORTEST = MINUTE  # of an arrival that is imminent: the sender needs a moment too
# These events are useless once their delivery has ended.
UNTIL_THE_END = frozenset({Event.ARRIVING_SOON, Event.LATE})
HAS_ENDED = "not sent before its delivery ended"


def life(event: Event, audience: Audience) -> timedelta:
    return (OF_CALLS if audience is Audience.WEBHOOK else OF_EMAILS)[event]


def expires_at(
    event: Event, audience: Audience, now: datetime, arrives_at: datetime | None = None
) -> datetime:
    """Return the expiry time; a near arrival's is the announced arrival, if that is sooner."""
    longest = now + life(event, audience)
    if event is not Event.ARRIVING_SOON or arrives_at is None:
        return longest
    return max(now + SHORTEST, min(longest, arrives_at))


def why_expired(event: Event, audience: Audience) -> str:
    """Return the ``error`` text of an expired notification; the cause is appended where it is known."""
    if event is Event.ARRIVING_SOON:
        return "not sent before the announced arrival, or within 15 minutes"
    return f"not sent within {_words(life(event, audience))}"


def _words(span: timedelta) -> str:
    number, unit = (span // DAY, "day") if span >= DAY else (span // HOUR, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"
