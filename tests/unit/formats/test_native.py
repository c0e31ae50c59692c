"""The native format: what is taken, what is refused and why. Nothing raises."""

import json
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.fix import Fix, Rejection
from formats import native
from formats.registry import decode

NOW = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)  # just past a month's edge
DEVICE = "abcdefghij"
GOOD: dict[str, Any] = {"fix_time": "2026-02-28T23:59:59Z", "latitude": 52.1, "longitude": 5.2}


def items(payload: bytes) -> list[Fix | Rejection]:
    return decode("location", payload, DEVICE, NOW)


def only(changes: dict[str, Any] | None = None, **more: Any) -> Fix | Rejection:
    [item] = items(json.dumps(GOOD | (changes or {}) | more).encode())
    return item


def reason(payload: bytes) -> str:
    [item] = items(payload)
    assert isinstance(item, Rejection), item
    assert item.detail
    return item.reason


def test_every_known_key_is_read() -> None:
    values = {
        "speed_kmh": 43.5,
        "course_deg": 360,
        "altitude_m": -3,
        "accuracy_m": 4.5,
        "battery_percent": 100,
        "odometer_m": 123456789,
    }
    fix = only(values, ignition=False, id="m-1")
    assert isinstance(fix, Fix)
    assert fix.fix_time == datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    assert (fix.latitude, fix.longitude) == (52.1, 5.2)
    assert {name: getattr(fix, name) for name in values} == values
    assert (fix.ignition, fix.message_id, fix.attributes) == (False, "m-1", None)


def test_unknown_keys_are_kept() -> None:
    fix = only(temperature=4.5, doors={"rear": "open"}, speed_kmh=12)
    assert isinstance(fix, Fix)
    assert fix.attributes == {"temperature": 4.5, "doors": {"rear": "open"}}
    assert fix.speed_kmh == 12


@pytest.mark.parametrize(
    "fix_time", ["2026-03-01T00:59:59+01:00", "2026-02-28T23:59:59.000Z", 1772323199, 1772323199.0]
)
def test_instants_are_read_with_their_zone_or_as_epoch_seconds(fix_time: Any) -> None:
    fix = only(fix_time=fix_time)
    assert isinstance(fix, Fix)
    assert fix.fix_time == datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "fix_time",
    [
        "2026-03-01T01:00:30Z",  # an hour ahead
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "1970-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-02-28T23:59:59",  # no zone
        "2026-02-28T23:59:60Z",  # a leap second
        "2026-02-28",
        "yesterday",
        "",
        1772323199000,  # milliseconds
        -1,
        0,
        1e300,
    ],
)
def test_a_bad_time_is_refused_never_guessed(fix_time: Any) -> None:
    assert reason(json.dumps(GOOD | {"fix_time": fix_time}).encode()) == "bad_time"


def test_fix_times_reach_from_30_days_back_to_5_minutes_ahead() -> None:
    for offset, is_taken in [
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, seconds=1), False),
        (timedelta(days=-30), True),
        (timedelta(days=-30, seconds=-1), False),
    ]:
        item = only(fix_time=(NOW + offset).isoformat())
        assert isinstance(item, Fix) is is_taken, offset


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"{", "bad_json"),
        (b"null", "bad_type"),
        (b"[]", "bad_type"),
        (b'"x"', "bad_type"),
        (b"17", "bad_type"),
        (b"\x9f\x03" * 2500, "bad_json"),
        (b'{"latitude": NaN}', "bad_json"),
        (b'{"latitude": Infinity}', "bad_json"),
        (b'{"latitude": 1e999}', "bad_json"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "bad_json"),
        (b"[" * 10_000 + b"]" * 10_000, "too_large"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_large"),
        (b'{"a": "\xff\xfe"}', "bad_json"),
        (b'{"a": "\\ud800"}', "bad_json"),
        (b'{"a": "x\\u0000"}', "bad_text"),
        (b'{"x\\u0000": 1}', "bad_text"),
        (b'{"a": "\x00"}', "bad_json"),
    ],
)
def test_rubbish_is_refused_with_its_reason(payload: bytes, expected: str) -> None:
    started = perf_counter()
    assert reason(payload) == expected
    assert perf_counter() - started < 0.1  # a guard against quadratic work, far above the real 1 ms


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"latitude": 91}, "out_of_range"),
        ({"longitude": -181}, "out_of_range"),
        ({"latitude": "12.3"}, "bad_type"),
        ({"latitude": True}, "bad_type"),
        ({"latitude": None}, "missing_field"),
        ({"latitude": [1]}, "bad_type"),
        ({"fix_time": None}, "missing_field"),
        ({"fix_time": True}, "bad_type"),
        ({"speed_kmh": -2}, "out_of_range"),
        ({"accuracy_m": -0.5}, "out_of_range"),
        ({"battery_percent": -1}, "out_of_range"),
        ({"odometer_m": -1}, "out_of_range"),
        ({"speed_kmh": "fast"}, "bad_type"),
        ({"battery_percent": 101}, "out_of_range"),
        ({"latitude": 10**30}, "out_of_range"),
        ({"latitude": 10**400}, "out_of_range"),
        ({"ignition": 1}, "bad_type"),
        ({"id": ["x"]}, "bad_type"),
        ({"id": "x" * 65}, "bad_type"),
        ({"id": "a\0b"}, "bad_text"),
        ({"id": 1.5}, "bad_type"),
        ({"id": True}, "bad_type"),
        ({"device": "zzzzzzzzzz"}, "spoofed"),
        ({"device_id": 7}, "spoofed"),
        ({f"k{i}": i for i in range(1000)}, "too_large"),
        ({"blob": "x" * 9000}, "too_large"),
        ({"deep": json.loads("[" * 20 + "]" * 20)}, "too_large"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], expected: str) -> None:
    item = only(changes)
    assert isinstance(item, Rejection)
    assert item.reason == expected
    if expected in {"out_of_range", "bad_type", "missing_field"}:
        assert next(iter(changes)) in item.detail


@pytest.mark.parametrize("extra", [{}, {"k": 1}])
@pytest.mark.parametrize("name", ["speed_kmh", "course_deg", "accuracy_m"])
@pytest.mark.parametrize("unknown", [-1, -1.0])
def test_minus_one_is_unknown(name: str, unknown: float, extra: dict[str, Any]) -> None:
    fix = only({name: unknown, "altitude_m": -1}, **extra)
    assert isinstance(fix, Fix)
    assert getattr(fix, name) is None
    assert fix.altitude_m == -1


@pytest.mark.parametrize("extra", [{}, {"k": 1}])
@pytest.mark.parametrize("sent", [17, "17", 17.0, 0, -1, 2**63, 10**40, "x" * 64])
def test_id_comes_back_as_sent(sent: str | float, extra: dict[str, Any]) -> None:
    for changes in ({}, {"latitude": 91}):
        item = only(changes, id=sent, **extra)
        assert (type(item.message_id), item.message_id) == (type(sent), sent)


def test_the_boundaries_of_the_earth_are_positions() -> None:
    fix = only(latitude=90, longitude=-180)
    assert isinstance(fix, Fix)
    assert (fix.latitude, fix.longitude) == (90.0, -180.0)


def test_minus_zero_is_zero_and_coordinates_have_seven_decimals() -> None:
    fix = only(latitude=-0.0, longitude=5.123456789)
    assert isinstance(fix, Fix)
    assert str(fix.latitude) == "0.0"
    assert fix.longitude == 5.1234568


def test_the_last_of_two_equal_keys_wins() -> None:
    [fix] = items(b'{"fix_time":"2026-02-28T23:59:59Z","latitude":1,"latitude":2,"longitude":3}')
    assert isinstance(fix, Fix)
    assert fix.latitude == 2


def test_repeating_the_own_id_is_no_spoof() -> None:
    assert isinstance(only(device=DEVICE), Fix)


def test_an_array_is_answered_item_by_item() -> None:
    good, bad = json.dumps(GOOD).encode(), b'{"latitude": 1e999, "id": "x"}'
    first, second, third = items(b"[" + good + b", " + bad + b',"text"]')
    assert isinstance(first, Fix)
    assert isinstance(second, Rejection)
    assert (second.reason, second.raw) == ("bad_json", bad)
    assert isinstance(third, Rejection)
    assert (third.reason, third.raw) == ("bad_type", b'"text"')


def test_an_array_of_more_than_500_is_refused_whole() -> None:
    payload = json.dumps([GOOD] * 501).encode()
    assert reason(payload) == "too_large"
    assert len(items(json.dumps([GOOD] * 500).encode())) == 500


def test_an_unknown_format_is_refused() -> None:
    [item] = decode("carrier-pigeon", b"{}", DEVICE, NOW)
    assert isinstance(item, Rejection)
    assert item.reason == "unknown_format"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["fix_time", "latitude", "longitude", "speed_kmh", "ignition", "id", "device", "x"])


@given(st.binary(max_size=400) | json_values.map(lambda value: json.dumps(value).encode()))
def test_nothing_a_device_sends_raises(payload: bytes) -> None:
    assert all(isinstance(item, Fix | Rejection) for item in native.decode(payload, DEVICE, NOW))


moments = st.datetimes(
    min_value=datetime(2026, 1, 25),  # noqa: DTZ001  # hypothesis wants these without a zone
    max_value=datetime(2026, 3, 2),  # noqa: DTZ001
    timezones=st.just(UTC),
)
spellings = st.builds(
    "{}{}{}{}".format,
    moments.map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S"))
    | moments.map(lambda at: at.strftime("%Y-%m-%d %H:%M"))
    | moments.map(lambda at: at.strftime("%Y%m%dt%H%M%S")),
    st.just("") | st.text("0123456789", min_size=1, max_size=12).map(".{}".format) | st.just(",5"),
    st.sampled_from(["Z", "z", "+00:00", "+0000", "+00", "-03:30", "+0200", "+02", "", "+24:00", "-00:00"]),
    st.sampled_from(["", "", "", " ", "Z"]),
)
plain_values = st.fixed_dictionaries(
    {
        "fix_time": spellings
        | moments.map(datetime.isoformat)
        | moments.map(datetime.timestamp)
        | st.integers(1_769_000_000, 1_773_000_000),
        "latitude": st.floats(-91, 91) | st.integers(-91, 91),
        "longitude": st.floats(-181, 181),
    },
    optional={
        "speed_kmh": st.none() | st.just(-1) | st.floats(-2, 2100),
        "course_deg": st.just(-1.0) | st.floats(0, 361),
        "accuracy_m": st.just(-1) | st.floats(-1, 1),
        "ignition": st.booleans() | st.just(1),
        "id": st.none() | st.text(max_size=70) | st.integers() | st.just(17.0),
        "battery_percent": st.integers(0, 101),
    },
)


@given(plain_values)
def test_the_fast_path_and_the_thorough_path_agree(values: dict[str, Any]) -> None:
    payload = json.dumps(values).encode()
    quick = native._item(payload, DEVICE, NOW, None)
    # An unknown key sends the same message the thorough way.
    thorough = native._item(json.dumps(values | {"k": 1}).encode(), DEVICE, NOW, None)
    if isinstance(quick, Fix):
        assert isinstance(thorough, Fix)
        assert {**_fields(thorough), "attributes": None} == _fields(quick)
    else:
        assert quick == thorough


def _fields(fix: Fix) -> dict[str, Any]:
    return {name: getattr(fix, name) for name in fix.__struct_fields__}
