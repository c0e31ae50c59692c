import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from api.live.broker.outgoing import OutgoingPositions
from api.live.socket.credentials import BadOpening, Opening, Way, opening
from core.rules.facts import PositionFact

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def test_header_wins_and_a_bearer_subprotocol_is_still_answered() -> None:
    assert opening("Bearer abc", ["bearer", "xyz"], {}) == Opening(Way.HEADER, "abc", "bearer", None)
    assert opening("bearer  abc ", [], {"last_checkpoint_id": "7"}) == Opening(Way.HEADER, "abc", None, 7)


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "abc"])
def test_another_header_is_an_empty_token(header: str) -> None:
    assert opening(header, [], {}).token == ""


def test_token_stands_beside_bearer() -> None:
    assert opening(None, ["bearer", "abc"], {}) == Opening(Way.SUBPROTOCOL, "abc", "bearer", None)
    assert opening(None, ["x", "bearer", "abc"], {}).token == "abc"


def test_without_either_the_first_message_is_awaited() -> None:
    assert opening(None, [], {}) == Opening(Way.FIRST_MESSAGE, None, None, None)
    assert opening(None, ["bearer"], {}) == Opening(Way.FIRST_MESSAGE, None, "bearer", None)
    assert opening(None, ["other"], {}).subprotocol is None


@pytest.mark.parametrize("name", ["token", "TOKEN", "access_token"])
def test_token_in_the_query_string_is_refused_whatever_else_there_is(name: str) -> None:
    with pytest.raises(BadOpening):
        opening("Bearer abc", [], {name: "abc"})


@pytest.mark.parametrize("text", ["", "-1", "1.0", " 1", "٣", "9223372036854775808", "1" * 5000])
def test_checkpoint_must_be_an_id(text: str) -> None:
    with pytest.raises(BadOpening):
        opening(None, [], {"last_checkpoint_id": text})


def fact(vehicle: int, second: int, *deliveries: int) -> PositionFact:
    return PositionFact(
        company="acme",
        vehicle=vehicle,
        fix_time=NOON + timedelta(seconds=second),
        latitude=52.5,
        longitude=13.4,
        deliveries=deliveries,
    )


def test_outgoing_keeps_the_newest_fact_of_each_vehicle() -> None:
    outgoing = OutgoingPositions()
    outgoing.put([fact(1, 5), fact(2, 1), fact(1, 4)])
    assert outgoing.take() == [fact(1, 5), fact(2, 1)]
    outgoing.put([fact(1, 5)])
    outgoing.put([fact(1, 5, 42)])
    assert outgoing.take() == [fact(1, 5, 42)]
    assert outgoing.take() == []


def test_outgoing_is_bounded_by_dropping_the_longest_waiting() -> None:
    outgoing = OutgoingPositions(maximum=2)
    outgoing.put([fact(1, 1), fact(2, 1), fact(3, 1)])
    assert [kept.vehicle for kept in outgoing.take()] == [2, 3]


def test_outgoing_wakes_the_loop_from_another_thread() -> None:
    async def wait() -> int:
        outgoing = OutgoingPositions()
        outgoing.bind(asyncio.get_running_loop())
        await asyncio.to_thread(outgoing.put, [fact(1, 1)])
        async with asyncio.timeout(5):
            await outgoing.ready.wait()
        return len(outgoing.take())

    assert asyncio.run(wait()) == 1
