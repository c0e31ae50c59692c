"""How long each kind of message is worth sending."""

from datetime import UTC, datetime, timedelta

import pytest

from core.notifications.expiry import expires_at, life, why_expired
from core.notifications.kinds import Audience, Event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("arrives_in", "life_of_it"), [(12, 12), (15, 15), (40, 15), (0, 1), (-3, 1), (None, 15)]
)
def test_an_arrival_is_notified_until_it_or_for_15_minutes(arrives_in: int | None, life_of_it: int) -> None:
    arrives_at = None if arrives_in is None else NOW + arrives_in * MINUTE
    for audience in Audience:
        assert expires_at(Event.ARRIVING_SOON, audience, NOW, arrives_at) == NOW + life_of_it * MINUTE


def test_the_eta_of_a_late_delivery_does_not_end_its_message() -> None:
    assert expires_at(Event.LATE, Audience.MANAGER, NOW, NOW + MINUTE) == NOW + timedelta(hours=2)


def test_machines_get_all_but_arrivals_for_a_day() -> None:
    others = set(Event) - {Event.ARRIVING_SOON, Event.TEST}
    assert {life(event, Audience.WEBHOOK) for event in others} == {DAY}


def test_a_report_outlives_news() -> None:
    lives = [
        life(event, Audience.MANAGER)
        for event in (Event.ARRIVING_SOON, Event.LATE, Event.STATUS_CHANGED, Event.DAILY_REPORT)
    ]
    assert lives == sorted(lives)


@pytest.mark.parametrize("audience", list(Audience))
@pytest.mark.parametrize("event", list(Event))
def test_why_one_expired_is_a_sentence(event: Event, audience: Audience) -> None:
    assert why_expired(event, audience).startswith("not sent ")
