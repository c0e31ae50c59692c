"""What our own e-mails say, for every status, number and event: as a person would write it."""

import re
from typing import Any

import pytest

from core.notifications.content.template_language import render
from core.notifications.content.templates import write
from core.notifications.content.texts import DEFAULTS, SAMPLES, Texts
from core.notifications.kinds import Audience, Event
from core.rules.enums import Status

CUSTOMER, MANAGER = Audience.CUSTOMER, Audience.MANAGER
ODD = re.compile(r"\b1 (minute|hour|day|failure)s\b|\b0 \w+s\b late|is now|_|None|  |\n\n\n|^\W*\n| [.,:]")


def written(event: Event, audience: Audience, **facts: Any) -> Texts:
    return write(DEFAULTS[event, audience], {**SAMPLES[event], **facts}, "UTC")


def lines(event: Event, audience: Audience, **facts: Any) -> list[str]:
    return written(event, audience, **facts).text.splitlines()


@pytest.mark.parametrize(
    ("status", "subject"),
    [
        (Status.PENDING, "Your delivery ORDER-1001 is waiting to be picked up"),
        (Status.PICKUP_IN_PROGRESS, "Your delivery ORDER-1001 is being picked up"),
        (Status.IN_TRANSIT, "Your delivery ORDER-1001 is on its way"),
        (Status.DELIVERED, "Your delivery ORDER-1001 has been delivered"),
        (Status.RETURNED, "Your delivery ORDER-1001 has been returned to the sender"),
        (Status.FAILED, "Your delivery ORDER-1001 could not be delivered"),
    ],
)
def test_every_status_has_a_subject_and_a_sentence(status: Status, subject: str) -> None:
    message = written(Event.STATUS_CHANGED, CUSTOMER, status=status.value)
    assert message.subject == subject
    assert f"{subject}.\n" in message.text


def test_every_status_has_a_sentence() -> None:
    for status in Status:
        assert not render("{{ status | phrase }}", {"status": status.value}).startswith("is now")
    assert render("{{ status | phrase }}", {"status": "on_hold"}) == "is now on hold"


@pytest.mark.parametrize(
    ("minutes", "phrase"),
    [
        (0, "arrives any minute now"),
        (1, "arrives in about 1 minute"),
        (2, "arrives in about 2 minutes"),
        (60, "arrives in about 1 hour"),
        (75, "arrives in about 1 hour 15 minutes"),
    ],
)
def test_minutes_to_an_arrival_read_as_people_speak(minutes: int, phrase: str) -> None:
    customer = written(Event.ARRIVING_SOON, CUSTOMER, minutes=minutes)
    assert customer.subject == f"Your delivery ORDER-1001 {phrase}"
    assert f"Your delivery ORDER-1001 {phrase} (around 12:42).\n" in customer.text
    assert written(Event.ARRIVING_SOON, MANAGER, minutes=minutes).subject == f"Delivery ORDER-1001 {phrase}"


@pytest.mark.parametrize(
    ("minutes", "phrase"),
    [(0, "late"), (1, "1 minute late"), (25, "25 minutes late"), (121, "2 hours 1 minute late")],
)
def test_lateness_reads_as_people_speak(minutes: int, phrase: str) -> None:
    message = written(Event.LATE, MANAGER, late_minutes=minutes)
    assert message.subject == f"Delivery ORDER-1001 is {phrase}"
    assert f"Delivery ORDER-1001 (number 42) is {phrase}. It is on its way." in message.text


@pytest.mark.parametrize(
    ("minutes", "phrase"),
    [
        (0, "less than a minute"),
        (1, "1 minute"),
        (59, "59 minutes"),
        (1440, "1 day"),
        (2 * 1440 + 61, "2 days 1 hour"),
        (None, ""),
        ("soon", "soon"),
        (True, "True"),
        (-5, "-5"),
        (float("nan"), "nan"),
        (10**400, str(10**400)),
    ],
)
def test_a_duration_has_two_units_at_most(minutes: Any, phrase: str) -> None:
    assert render("{{ minutes | duration }}", {"minutes": minutes}) == phrase


def test_a_window_of_one_day_names_it_once() -> None:
    window = {"window_start": "2026-03-01T12:00:00Z", "window_end": "2026-03-01T14:00:00Z"}
    assert "Agreed: 2026-03-01, 12:00 to 14:00" in lines(Event.LATE, CUSTOMER, delivery=_delivery(**window))
    night = window | {"window_end": "2026-03-02T02:00:00Z"}
    shown = lines(Event.LATE, CUSTOMER, delivery=_delivery(**night))
    assert "Agreed: 2026-03-01 12:00 to 2026-03-02 02:00" in shown
    shown = lines(Event.LATE, CUSTOMER, delivery=_delivery(**window | {"window_start": None}))
    assert "Agreed: by 2026-03-01 14:00" in shown


def test_a_day_without_agreed_times_has_no_rate() -> None:
    assert "On time: none had an agreed time" in lines(Event.DAILY_REPORT, MANAGER, on_time_percent=None)
    assert "On time: 0.0%" in lines(Event.DAILY_REPORT, MANAGER, on_time_percent=0.0)


def test_a_delivery_without_a_reference_has_its_number() -> None:
    bare = _delivery(reference="", window_start=None, window_end=None)
    message = written(Event.STATUS_CHANGED, CUSTOMER, status="delivered", delivery=bare, recipient_name="")
    assert message.subject == "Your delivery number 42 has been delivered"
    assert message.text.startswith("Hello,\n\nYour delivery number 42 has been delivered.\n\nTo: ")
    assert "Delivery number 42 is 25 minutes late." in written(Event.LATE, MANAGER, delivery=bare).text


@pytest.mark.parametrize(("event", "audience"), list(DEFAULTS))
def test_no_number_or_gap_makes_an_odd_sentence(event: Event, audience: Audience) -> None:
    gaps: list[dict[str, Any]] = [{}]
    gaps += [{name: number} for name in SAMPLES[event] if name in NUMBERS for number in (0, 1, 2, 61, 1500)]
    gaps += [{"status": status.value, "delivery": _delivery(status=status.value)} for status in Status]
    gaps += [{"delivery": _delivery(reference="", window_start=None, window_end=None)}]
    gaps += [{"eta": None, "reason": None, "last_seen_at": None, "vehicle": None, "on_time_percent": None}]
    gaps += [{"reason": "Nobody at home"}, {"recipient_name": ""}]
    for facts in gaps:
        message = written(event, audience, **facts)
        for phrase in (message.subject, message.text):
            odd = ODD.search(phrase)
            assert odd is None or odd.group() in {"GPS "}, f"{facts}: {odd} in {phrase!r}"


def test_the_words_of_older_templates_stay() -> None:
    facts = {**SAMPLES[Event.ARRIVING_SOON], "status": "pickup_in_progress", "minutes": 1}
    old = "is now {{ status | words }}, in about {{ minutes }} minutes"
    assert render(old, facts) == "is now pickup in progress, in about 1 minutes"


NUMBERS = {"minutes", "late_minutes", "silent_minutes", "failures"}


def _delivery(**changes: Any) -> dict[str, Any]:
    return {**SAMPLES[Event.LATE]["delivery"], **changes}
