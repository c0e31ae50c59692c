"""One reader of instants for every way in: the same spellings, the same instant, the same refusals."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.schemas.fields import Instant, TextInstant
from core.rules.times import instants
from core.rules.times.instants import BadInstant
from formats.json_input import PayloadRefused
from formats.times import instant

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
rest, query = TypeAdapter(Instant), TypeAdapter(TextInstant)


def readings(value: Any) -> set[datetime]:
    """What MQTT, REST and a query make of it."""
    return {instant(value, "fix_time"), rest.validate_python(value), query.validate_python(str(value))}


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01 12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-03-01T14:00:00+02:00",
        "2026-03-01T14:00:00+0200",
        "2026-03-01T14:00:00+02",
        "2026-03-01T12:00:00+00",
        "2026-03-01T08:30:00-03:30",
        "20260301T120000Z",
        "20260301T140000+0200",
        "2026-03-01T12:00:00,0Z",
        "2026-03-01T12:00:00.0000009999999999999999Z",
        1772366400,
        1772366400.0,
    ],
)
def test_every_spelling_of_an_instant_is_the_same_instant(text: Any) -> None:
    assert readings(text) == {NOON}


@pytest.mark.parametrize(
    ("value", "microsecond"),
    [
        ("2026-03-01T12:00:07.123456789Z", 123456),
        ("2026-03-01T12:00:07.9999999Z", 999999),
        ("2026-03-01T14:00:07.1234567+02:00", 123456),
        ("2026-03-01T12:00:07.1Z", 100000),
        (1772366407.123456, 123456),
        (1772366407.1234568, 123456),
        (1772366407.3, 300000),
    ],
)
def test_fractions_are_cut_to_microseconds_everywhere(value: Any, microsecond: int) -> None:
    assert readings(value) == {NOON + timedelta(seconds=7, microseconds=microsecond)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00 02:00",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:00:60Z",
        "2026-02-30T12:00:00Z",
        "2026-W09-7T12:00:00Z",
        "2026-03-01x12:00:00Z",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00+24:00",
        "2026-0301T12:00:00Z",
        " 2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z\n",
        "٢٠٢٦-03-01T12:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_what_is_no_instant_is_refused_by_all(text: str) -> None:
    with pytest.raises(PayloadRefused):
        instant(text, "fix_time")
    for reader in (rest, query):
        with pytest.raises(ValidationError):
            reader.validate_python(text)


def test_complaint_says_what_to_write_instead() -> None:
    for text, words in (("2026-03-01T12:00:00", "no zone"), ("2026-03-01T12:00:00 02:00", "%2B")):
        with pytest.raises(BadInstant, match=words):
            instants.from_iso(text)


@given(
    st.datetimes(
        min_value=datetime(2000, 1, 1),  # noqa: DTZ001  # hypothesis wants these without a zone
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m))),
    ),
    st.text("0123456789", max_size=9),
)
def test_more_decimals_never_make_another_instant(at: datetime, decimals: str) -> None:
    head, offset = at.strftime("%Y-%m-%dT%H:%M:%S.%f"), at.isoformat()[-6:]
    assert instants.from_iso(f"{head}{decimals}{offset}") == at


@given(st.integers(1_500_000_000, 2_500_000_000), st.integers(0, 999_999))
def test_decimals_of_epoch_seconds_are_those_that_were_sent(seconds: int, microseconds: int) -> None:
    sent = float(f"{seconds}.{microseconds:06}")
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=microseconds)
    assert instants.from_epoch_seconds(sent) == expected
