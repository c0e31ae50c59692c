"""When a delivery is late or arrives soon, and a device is silent: functions of values."""

from datetime import UTC, datetime, timedelta

import pytest

from core.detectors.late_deliveries import is_late, late_minutes
from core.detectors.near_arrivals import is_soon, minutes_left
from core.detectors.silent_devices import is_silent, silent_since

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("minutes_after_the_window", "grace_min", "late"),
    [(-1, 0, False), (0, 0, True), (9, 10, False), (10, 10, True), (1449, 10, True), (1450, 10, False)],
)
def test_late_is_after_the_grace_and_for_a_day(
    minutes_after_the_window: int, grace_min: int, late: bool
) -> None:
    assert is_late(NOON, grace_min, NOON + minutes_after_the_window * MINUTE) is late


def test_minutes_are_whole_ones_that_have_passed_or_are_left() -> None:
    assert late_minutes(NOON, NOON + timedelta(seconds=179)) == 2
    assert minutes_left(NOON + timedelta(seconds=121), NOON) == 3
    assert minutes_left(NOON - MINUTE, NOON) == 0


@pytest.mark.parametrize(
    ("minutes_left", "threshold_min", "soon"),
    [(16, 15, False), (15, 15, True), (-3, 15, True), (0, 0, False), (-3, 0, False)],
)
def test_soon_is_within_the_threshold_and_0_is_never(
    minutes_left: int, threshold_min: int, soon: bool
) -> None:
    assert is_soon(NOON + minutes_left * MINUTE, threshold_min, NOON) is soon


def test_nothing_expected_is_never_soon() -> None:
    assert not is_soon(None, 15, NOON)


def test_silence_begins_at_the_last_fix_if_one_was_expected() -> None:
    made, last_heard_at = NOON - 90 * MINUTE, NOON - 60 * MINUTE
    assert silent_since(last_heard_at, made, [NOON - 80 * MINUTE]) == last_heard_at
    assert silent_since(last_heard_at, made, [NOON, NOON - 50 * MINUTE]) == NOON - 50 * MINUTE
    assert silent_since(None, made, [NOON - 80 * MINUTE]) == NOON - 80 * MINUTE
    assert silent_since(None, NOON, [NOON - 80 * MINUTE]) == NOON


def test_a_word_may_be_a_minute_newer_than_it_was_noted() -> None:
    assert not is_silent(NOON, 30, NOON + 31 * MINUTE - timedelta(seconds=1))
    assert is_silent(NOON, 30, NOON + 31 * MINUTE)
