"""What a simulated unit keeps, sends, repeats and drops."""

import json
from datetime import UTC, datetime, timedelta

from local.simulator.driving import Reading
from local.simulator.outgoing import MAXIMUM_ARRAY, PATIENCE_S, OutgoingFixes

STORED = b'{"result":"stored"}'


def readings(count: int, first: int = 1) -> list[Reading]:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        Reading(
            fix_time=start + timedelta(seconds=number),
            latitude=38.7,
            longitude=-9.1,
            speed_kmh=30.0,
            course_deg=10.0,
            altitude_m=50.0,
            accuracy_m=4.0,
            battery_percent=90.0,
            ignition=True,
            odometer_m=1.0,
            id=str(number),
        )
        for number in range(first, first + count)
    ]


def test_one_fix_is_sent_as_an_object() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(1))
    (message,) = outgoing.due(0.0)
    assert json.loads(message.payload)["id"] == "1"
    assert json.loads(message.payload)["fix_time"] == "2026-03-01T00:00:01Z"


def test_a_backlog_is_sent_as_arrays_of_at_most_500() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(MAXIMUM_ARRAY + 2))
    assert [len(json.loads(message.payload)) for message in outgoing.due(0.0)] == [500, 2]


def test_a_full_window_keeps_the_rest_waiting() -> None:
    outgoing = OutgoingFixes(window=2)
    for number in range(4):
        outgoing.add(readings(1, number))
        list(outgoing.due(0.0))
    assert (outgoing.unanswered, outgoing.waiting) == (2, 2)


def test_an_answer_frees_the_window_for_all_that_waits() -> None:
    outgoing = OutgoingFixes(window=1)
    outgoing.add(readings(1))
    (first,) = outgoing.due(0.0)
    outgoing.add(readings(3, first=2))
    settled = outgoing.settle(first.correlation, STORED, 0.25)
    assert settled is not None
    assert [item.result for item in settled.results] == ["stored"]
    assert settled.seconds == 0.25
    (second,) = outgoing.due(1.0)
    assert len(json.loads(second.payload)) == 3


def test_more_than_the_capacity_drops_the_oldest_and_counts_them() -> None:
    outgoing = OutgoingFixes(capacity=3)
    outgoing.add(readings(5))
    (message,) = outgoing.due(0.0)
    assert [fix["id"] for fix in json.loads(message.payload)] == ["3", "4", "5"]
    assert outgoing.dropped == 2


def test_an_unanswered_message_is_repeated_unchanged_with_back_off() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(1))
    (first,) = outgoing.due(0.0)
    assert list(outgoing.due(PATIENCE_S - 0.1)) == []
    (again,) = outgoing.due(PATIENCE_S)
    assert (again.payload, again.correlation) == (first.payload, first.correlation)
    assert list(outgoing.due(PATIENCE_S * 2.9)) == []
    assert len(list(outgoing.due(PATIENCE_S * 3))) == 1


def test_a_lost_connection_makes_all_unanswered_due_at_once() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(1))
    list(outgoing.due(0.0))
    outgoing.disconnected()
    assert len(list(outgoing.due(0.1))) == 1


def test_an_array_is_answered_item_by_item() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(2))
    (message,) = outgoing.due(0.0)
    reply = b'{"results":[{"id":"1","result":"duplicate"},{"result":"rejected","reason":"bad_time"}]}'
    settled = outgoing.settle(message.correlation, reply, 1.0)
    assert settled is not None
    assert [(item.result, item.reason) for item in settled.results] == [
        ("duplicate", None),
        ("rejected", "bad_time"),
    ]


def test_a_refused_array_counts_for_each_of_its_fixes() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(3))
    (message,) = outgoing.due(0.0)
    settled = outgoing.settle(message.correlation, b'{"result":"rejected","reason":"too_many"}', 1.0)
    assert settled is not None
    assert [item.reason for item in settled.results] == ["too_many"] * 3


def test_only_a_readable_answer_that_is_waited_for_settles() -> None:
    outgoing = OutgoingFixes()
    outgoing.add(readings(2))
    (message,) = outgoing.due(0.0)
    for nonsense in (b"", b"\xff", b"[]", b'{"results":[{"result":"stored"}]}'):
        assert outgoing.settle(message.correlation, nonsense, 1.0) is None
    assert outgoing.settle(b"unknown", STORED, 1.0) is None
    assert outgoing.settle(message.correlation, STORED, 1.0) is not None
    assert outgoing.settle(message.correlation, STORED, 1.0) is None, "a second reply to one message"
