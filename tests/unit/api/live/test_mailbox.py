import asyncio
from datetime import UTC, datetime, timedelta

from api.live import close_codes
from api.live.events import LivePosition, LocationEvent, StatusEvent
from api.live.metrics import LiveMetrics
from api.live.watchers.mailbox import Mailbox

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def mailbox(*, is_customer: bool = False, maximum_bytes: int = 1000) -> Mailbox:
    return Mailbox(LiveMetrics(), is_customer=is_customer, maximum_bytes=maximum_bytes)


def location(second: int, vehicle: int = 7) -> LocationEvent:
    return LocationEvent(f"at {second}", LivePosition(vehicle, NOON + timedelta(seconds=second)))


def status(checkpoint: int) -> StatusEvent:
    return StatusEvent(checkpoint, f"staff {checkpoint}", f"customer {checkpoint}")


def waiting(box: Mailbox) -> list[str | None]:
    """What `Mailbox.next` would give one after the other: None once closed."""
    if box.closed.is_set():
        return [None]
    return list(iter(box._take, None))


def test_the_latest_location_wins() -> None:
    box = mailbox()
    for second in (1, 3, 2):
        box.offer_location(location(second))
    assert waiting(box) == ["at 3"]


def test_statuses_are_kept_in_order_and_sent_once() -> None:
    box = mailbox()
    for checkpoint in (4, 6, 5, 6, 9):
        box.offer_status(status(checkpoint))
    assert waiting(box) == ["staff 4", "staff 6", "staff 9"]


def test_customers_get_their_own_wording_and_no_staff_matters() -> None:
    box = mailbox(is_customer=True)
    box.offer_status(status(4))
    box.offer_status(StatusEvent(5, "staff 5", None))
    assert waiting(box) == ["customer 4"]


def test_too_many_unsent_statuses_close_it() -> None:
    box = mailbox(maximum_bytes=len("staff 1") * 2)
    box.offer_status(status(1))
    box.offer_status(status(2))
    assert not box.closed.is_set()
    box.offer_status(status(3))
    assert box.close_code == close_codes.TOO_SLOW
    assert waiting(box) == [None]


def test_sent_statuses_free_their_slots() -> None:
    box = mailbox(maximum_bytes=len("staff 1"))
    for checkpoint in range(1, 10):
        box.offer_status(status(checkpoint))
        assert waiting(box) == [f"staff {checkpoint}"]


def test_a_flood_of_pings_gets_one_pong() -> None:
    box = mailbox()
    for _ in range(1000):
        box.offer_answer("pong", "pong")
    assert waiting(box) == ["pong"]


def test_what_the_snapshot_holds_is_dropped_and_the_rest_kept() -> None:
    box = mailbox()
    for checkpoint in (4, 5, 6):
        box.offer_status(status(checkpoint))
    box.offer_location(location(3))
    box.skip_to(5, LivePosition(7, NOON + timedelta(seconds=3)))
    assert waiting(box) == ["staff 6"]
    box.offer_status(status(5))
    box.offer_location(location(2))
    assert waiting(box) == []


def test_location_newer_than_the_snapshot_is_kept() -> None:
    box = mailbox()
    box.offer_location(location(4))
    box.skip_to(0, LivePosition(7, NOON + timedelta(seconds=3)))
    assert waiting(box) == ["at 4"]


def test_location_of_a_former_vehicle_yields_to_the_snapshot() -> None:
    box = mailbox()
    box.offer_location(location(9, vehicle=1))
    box.skip_to(0, LivePosition(7, NOON))
    assert waiting(box) == []


def test_the_first_close_code_stays_and_nothing_follows() -> None:
    box = mailbox()
    box.offer_status(status(1))
    box.close(close_codes.NOT_AUTHENTICATED)
    box.close(close_codes.GONE)
    box.offer_status(status(2))
    assert box.close_code == close_codes.NOT_AUTHENTICATED
    assert waiting(box) == [None]


def test_next_waits_for_an_offer_and_ends_with_the_close() -> None:
    async def story() -> list[str | None]:
        box = mailbox()
        asyncio.get_running_loop().call_soon(box.offer_status, status(1))
        first = await box.next()
        asyncio.get_running_loop().call_soon(box.close, close_codes.GOING_AWAY)
        return [first, await box.next()]

    assert asyncio.run(story()) == ["staff 1", None]
