import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import payloads
from broker.payloads import PayloadError, Reply
from core.rules.facts import AlertFact, PositionFact, StatusFact

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BERLIN_NOON = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
POSITION = PositionFact(
    company="acme", vehicle=7, fix_time=NOON, latitude=52.5, longitude=13.4, deliveries=(42,)
)
STATUS = StatusFact(
    company="acme",
    delivery=42,
    checkpoint=9,
    kind="status",
    status="in_transit",
    vehicle=7,
    occurred_at=NOON,
    recorded_at=NOON,
)
ALERT = AlertFact(company="acme", kind="low_battery", vehicle=7, detail="9 %", occurred_at=NOON)


def test_a_position_goes_out_as_the_contract_says() -> None:
    topic, payload = payloads.position_message(POSITION)
    assert topic == "fleet/acme/vehicles/7/position"
    assert json.loads(payload) == {
        "company": "acme",
        "vehicle": 7,
        "fix_time": "2026-03-01T12:00:00Z",
        "latitude": 52.5,
        "longitude": 13.4,
        "deliveries": [42],
    }


def test_facts_come_back_as_they_went() -> None:
    assert payloads.decode_position(payloads.position_message(POSITION)[1]) == POSITION
    assert payloads.decode_status(payloads.status_message(STATUS)[1]) == STATUS
    assert msgspec.json.decode(payloads.alert_message(ALERT)[1], type=AlertFact) == ALERT


def test_instants_leave_in_utc() -> None:
    position = PositionFact(company="acme", vehicle=7, fix_time=BERLIN_NOON, latitude=0, longitude=0)
    assert b'"fix_time":"2026-03-01T12:00:00Z"' in payloads.position_message(position)[1]


def test_an_instant_without_a_zone_does_not_leave() -> None:
    naive = PositionFact(
        company="acme", vehicle=7, fix_time=NOON.replace(tzinfo=None), latitude=0, longitude=0
    )
    with pytest.raises(ValueError, match="zone"):
        payloads.position_message(naive)


def test_gone_is_an_empty_payload_both_ways() -> None:
    assert payloads.position_gone("acme", 7) == ("fleet/acme/vehicles/7/position", b"")
    assert payloads.status_gone("acme", 42) == ("fleet/acme/deliveries/42/status", b"")
    assert payloads.decode_position(b"") is None
    assert payloads.decode_status(b"") is None


@pytest.mark.parametrize("rubbish", [b"{", b"null", b"[]", b"\xff", b"{}", b'{"company": 1}', b"[" * 100_000])
def test_rubbish_raises_its_own_error(rubbish: bytes) -> None:
    for decode in (payloads.decode_position, payloads.decode_status):
        with pytest.raises(PayloadError):
            decode(rubbish)


@given(st.binary(min_size=1))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(PayloadError):
        payloads.decode_status(data)


def test_replies_say_what_became_of_a_message() -> None:
    assert json.loads(payloads.reply("stored")) == {"result": "stored"}
    assert json.loads(payloads.reply("rejected", "bad_time", id=3)) == {
        "id": 3,
        "result": "rejected",
        "reason": "bad_time",
    }
    refused = payloads.reply("rejected", "invalid_transition", current="delivered", allowed=[])
    assert json.loads(refused)["allowed"] == []


def test_an_array_is_answered_item_by_item() -> None:
    answer = payloads.replies([Reply(id="a", result="stored"), Reply(result="duplicate")])
    assert json.loads(answer) == {"results": [{"id": "a", "result": "stored"}, {"result": "duplicate"}]}
