"""Times and agreed windows in e-mails: never half a window, never an hour that could be another."""

from typing import Any

import pytest

from core.notifications.content import templates
from core.notifications.content.texts import DEFAULTS, Texts
from core.notifications.kinds import Audience, Event

BERLIN = "Europe/Berlin"
OF_BEFORE = (
    "{% if delivery.window_end %}"
    "Agreed: {{ delivery.window_start | datetime }} to {{ delivery.window_end | datetime }}\n"
    "{% endif %}"
)


def written(texts: Texts, zone: str, **facts: Any) -> str:
    return templates.write(texts, facts, zone).text


def window(zone: str, start: str | None, end: str | None) -> list[str]:
    """The lines of our own e-mails that begin with "Agreed"."""
    delivery = {"reference": "D-1", "window_start": start, "window_end": end}
    texts = written(DEFAULTS[Event.STATUS_CHANGED, Audience.CUSTOMER], zone, delivery=delivery)
    return [line for line in texts.split("\n") if line.startswith("Agreed")]


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (None, "2026-11-27T15:12:00Z", "by 2026-11-27 16:12"),
        ("2026-11-27T15:12:00Z", None, "from 2026-11-27 16:12"),
        ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z", "2026-07-01, 12:00 to 14:00"),
        ("2026-07-01T21:00:00Z", "2026-07-01T23:00:00Z", "2026-07-01 23:00 to 2026-07-02 01:00"),
        (
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25 02:30 (UTC+02:00) to 2026-10-25 02:30 (UTC+01:00)",
        ),
        (
            "2026-10-24T20:00:00Z",
            "2026-10-25T05:00:00Z",
            "2026-10-24 22:00 (UTC+02:00) to 2026-10-25 06:00 (UTC+01:00)",
        ),
        (
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:30:00Z",
            "2026-03-29 01:30 (UTC+01:00) to 2026-03-29 03:30 (UTC+02:00)",
        ),
        (
            "2026-10-20T08:00:00Z",
            "2026-10-28T09:00:00Z",
            "2026-10-20 10:00 (UTC+02:00) to 2026-10-28 10:00 (UTC+01:00)",
        ),
        (None, "2026-10-25T01:30:00Z", "by 2026-10-25 02:30 (UTC+01:00)"),
        (
            "2026-10-24T22:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25 00:30 (UTC+02:00) to 2026-10-25 02:30 (UTC+02:00)",
        ),
    ],
)
def test_window_reads_as_it_was_agreed(start: str | None, end: str | None, words: str) -> None:
    assert window(BERLIN, start, end) == [f"Agreed: {words}"]


def test_delivery_without_a_window_says_nothing_of_one() -> None:
    assert window(BERLIN, None, None) == []


def test_every_default_email_shows_a_window_with_one_end() -> None:
    delivery = {"reference": "D-1", "window_start": None, "window_end": "2026-11-27T15:12:00Z"}
    for texts in DEFAULTS.values():
        text = written(texts, BERLIN, delivery=delivery)
        assert "Agreed:" not in text or "Agreed: by 2026-11-27 16:12\n" in text


def test_unknown_zone_is_shown_as_utc() -> None:
    assert window("Mars/Olympus", None, "2026-11-27T15:12:00Z") == ["Agreed: by 2026-11-27 15:12 (UTC+00:00)"]
    texts = Texts("{{ eta | time }}", "{{ eta | datetime }}, {{ eta | date }}")
    assert written(texts, "Mars/Olympus", eta="2026-03-01T12:42:00Z") == (
        "2026-03-01 12:42 (UTC+00:00), 2026-03-01"
    )


def test_tenants_own_words_show_offsets_that_differ() -> None:
    delivery = {"window_start": "2026-10-25T00:30:00Z", "window_end": "2026-10-25T01:30:00Z"}
    assert written(Texts("s", OF_BEFORE), BERLIN, delivery=delivery) == (
        "Agreed: 2026-10-25 02:30 (UTC+02:00) to 2026-10-25 02:30 (UTC+01:00)\n"
    )
    texts = Texts("s", "{{ eta | time }}, {{ delivery.window_end | time }}, {{ occurred_at | time }}")
    facts = {"eta": "2026-10-25T03:00:00Z", "occurred_at": "2026-09-01T00:00:00Z"}
    assert written(texts, BERLIN, delivery={"window_end": "2026-10-24T20:00:00Z"}, **facts) == (
        "04:00 (UTC+01:00), 22:00 (UTC+02:00), 02:00"
    )


def test_day_without_a_time_stays_that_day() -> None:
    assert written(Texts("s", "{{ day | date }}"), "America/New_York", day="2026-03-01") == "2026-03-01"


def test_template_may_name_the_window_in_words() -> None:
    templates.check(Event.LATE, Texts("{{ delivery.window }}", "{{ delivery.window }}"))
