"""A driver's request from a phone."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.enums import Status
from core.rules.fix import Rejection
from formats.status import StatusMessage, decode

DEVICE = "abcdefghij"
GOOD: dict[str, Any] = {"delivery": 42, "status": "failed", "reason": "nobody home", "id": "r1"}


def test_a_request_is_read() -> None:
    message = decode(json.dumps(GOOD | {"occurred_at": "2026-02-28T23:59:59+01:00"}).encode(), DEVICE)
    assert isinstance(message, StatusMessage)
    assert (message.delivery_id, message.message_id) == (42, "r1")
    assert message.request.status is Status.FAILED
    assert message.request.reason == "nobody home"
    assert message.request.occurred_at == datetime(2026, 2, 28, 22, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"delivery": "42"}, "bad_type"),
        ({"delivery": True}, "bad_type"),
        ({"delivery": 123.5}, "bad_type"),
        ({"delivery": 1e300}, None),
        ({"delivery": None}, "bad_type"),
        ({"status": "teleported"}, "bad_status"),
        ({"status": ["failed"]}, "bad_status"),
        ({"reason": 7}, "bad_type"),
        ({"reason": "x" * 501}, "too_large"),
        ({"reason": "a\0"}, "bad_text"),
        ({"occurred_at": "noon"}, "bad_time"),
        ({"occurred_at": 0}, None),
        ({"device": "abcdefghij"}, None),
        ({"device": "zzzzzzzzzz"}, "spoofed"),
        ({"device_id": 7}, "spoofed"),
        ({"company": 7}, "bad_type"),
    ],
)
def test_every_problem_is_named(changes: dict[str, Any], reason: str | None) -> None:
    message = decode(json.dumps(GOOD | changes).encode(), DEVICE)
    if reason is None:
        assert isinstance(message, StatusMessage)
    else:
        assert isinstance(message, Rejection)
        assert message.reason == reason


@pytest.mark.parametrize("delivery", [123, 123.0])
@pytest.mark.parametrize("sent", [17, 17.0, "17"])
def test_whole_floats_are_ids_and_ids_come_back_as_sent(delivery: float, sent: str | float) -> None:
    message = decode(json.dumps(GOOD | {"delivery": delivery, "id": sent}).encode(), DEVICE)
    assert isinstance(message, StatusMessage)
    assert (type(message.delivery_id), message.delivery_id) == (int, 123)
    assert (type(message.message_id), message.message_id) == (type(sent), sent)


def test_reason_is_stored_composed() -> None:
    message = decode(json.dumps(GOOD | {"reason": "Tu\u0308r zu"}).encode(), DEVICE)
    assert isinstance(message, StatusMessage)
    assert message.request.reason == "T\u00fcr zu"


@given(st.binary(max_size=300))
def test_nothing_raises(payload: bytes) -> None:
    assert isinstance(decode(payload, DEVICE), StatusMessage | Rejection)
