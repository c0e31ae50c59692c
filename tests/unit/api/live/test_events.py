import json
from datetime import UTC, datetime, timedelta

import pytest

from api.live.events import LivePosition, client_message, complaint, location_event, status_event
from core.rules.facts import PositionFact, StatusFact

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
FACT = PositionFact(
    company="acme", vehicle=7, fix_time=NOON, latitude=52.5, longitude=13.4, smoothed_speed_kmh=36.0
)
STATUS = StatusFact(
    company="acme",
    delivery=42,
    checkpoint=9,
    kind="status",
    status="failed",
    vehicle=7,
    driver=3,
    reason='said "no"',
    occurred_at=NOON,
    recorded_at=NOON,
)


def test_location_without_dropoff_has_no_eta_and_no_nulls() -> None:
    event = location_event(FACT, 42, None)
    assert json.loads(event.text) == {
        "type": "location_update",
        "delivery": 42,
        "vehicle": 7,
        "latitude": 52.5,
        "longitude": 13.4,
        "fix_time": "2026-05-04T12:00:00Z",
    }
    assert event.seen == LivePosition(7, NOON)


def test_location_with_dropoff_has_an_eta_counted_from_the_fix() -> None:
    # 0.1 degrees of latitude are 11.12 km; times 1.3 at 36 km/h: 24 minutes.
    update = json.loads(location_event(FACT, 42, (52.6, 13.4)).text)
    assert update["eta"].startswith("2026-05-04T12:24:")


def test_staff_see_driver_and_vehicle_and_customers_do_not() -> None:
    event = status_event(STATUS)
    for_customer = json.loads(event.for_customer or "")
    assert for_customer == {
        "type": "status_update",
        "delivery": 42,
        "status": "failed",
        "kind": "status",
        "checkpoint_id": 9,
        "occurred_at": "2026-05-04T12:00:00Z",
        "recorded_at": "2026-05-04T12:00:00Z",
        "reason": 'said "no"',
    }
    assert json.loads(event.for_staff) == for_customer | {"vehicle": 7, "driver": 3}


def test_assignment_is_nothing_for_customers() -> None:
    event = status_event(
        StatusFact(
            company="acme",
            delivery=42,
            checkpoint=9,
            kind="assignment",
            status="pending",
            occurred_at=NOON,
            recorded_at=NOON,
        )
    )
    assert event.for_customer is None


@pytest.mark.parametrize(
    ("vehicle", "seconds", "is_after"), [(7, 1, True), (7, 0, False), (7, -1, False), (8, -1, True)]
)
def test_newer_is_by_fix_time_within_one_vehicle(vehicle: int, seconds: int, is_after: bool) -> None:
    position = LivePosition(vehicle, NOON + timedelta(seconds=seconds))
    assert position.is_after(LivePosition(7, NOON)) is is_after
    assert position.is_after(None)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"type":7}', '{"token":"x"}', "[" * 50_000])
def test_what_is_no_message_is_none(text: str) -> None:
    assert client_message(text) is None


def test_message_with_unknown_keys_is_understood() -> None:
    message = client_message('{"type":"auth","token":"t","last_checkpoint_id":5,"more":[1]}')
    assert message is not None
    assert (message.type, message.token, message.last_checkpoint_id) == ("auth", "t", 5)


def test_complaint_names_the_error() -> None:
    assert json.loads(complaint("NotText")) == {"type": "error", "error": "NotText"}
