from datetime import UTC, datetime, timedelta

import pytest

from api.live import close_codes
from api.live.metrics import LiveMetrics
from api.live.watchers import fan_out
from api.live.watchers.groups import Group, Groups, Watcher, refusal
from api.live.watchers.mailbox import Mailbox
from core.access.actors import Actor
from core.accounts.token_holders import Person
from core.deliveries.watched import WatchedDelivery
from core.rules.enums import Role, Status
from core.rules.facts import PositionFact, StatusFact

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STATUS_TOPIC, VAN_7, VAN_8 = (
    "fleet/acme/deliveries/42/status",
    "fleet/acme/vehicles/7/position",
    "fleet/acme/vehicles/8/position",
)
PERSON = Person(1, Role.CUSTOMER, None, 5, 1, None)


def target(**values: object) -> WatchedDelivery:
    defaults: dict[str, object] = {
        "delivery": 42,
        "company": "acme",
        "company_id": 1,
        "customer_id": 5,
        "driver_id": 3,
        "vehicle": 7,
        "status": Status.IN_TRANSIT,
        "dropoff": None,
        "position": None,
    }
    return WatchedDelivery(**(defaults | values))  # type: ignore[arg-type]


def member(role: Role = Role.CUSTOMER, **values: int) -> Watcher:
    ids = {"customer_id": 5} if role is Role.CUSTOMER else {"driver_id": 3} if role is Role.DRIVER else {}
    actor = Actor(company_id=1, company_slug="acme", role=role, **(ids | values))  # type: ignore[arg-type]
    return Watcher(actor, PERSON, Mailbox(LiveMetrics(), is_customer=role is Role.CUSTOMER))


def position(
    second: int = 0, *, vehicle: int = 7, company: str = "acme", named: int = 42, **whose: tuple[int]
) -> PositionFact:
    return PositionFact(
        company=company,
        vehicle=vehicle,
        fix_time=NOON + timedelta(seconds=second),
        latitude=52.5,
        longitude=13.4,
        deliveries=(named,),
        **whose,  # type: ignore[arg-type]
    )


def status(
    checkpoint: int, status: str = "in_transit", *, vehicle: int = 7, driver: int = 3, customer: int = 5
) -> StatusFact:
    return StatusFact(
        company="acme",
        delivery=42,
        checkpoint=checkpoint,
        kind="status",
        status=status,
        vehicle=vehicle,
        driver=driver,
        customer=customer,
        occurred_at=NOON,
        recorded_at=NOON,
    )


class Watched:
    """One group with one member."""

    def __init__(self, **values: object) -> None:
        self.groups = Groups(LiveMetrics())
        self.member = member()
        self.group: Group = self.groups.join(target(**values), self.member)

    @property
    def got(self) -> list[str]:
        """Statuses' checkpoints and locations' times, as waiting in the mailbox."""
        box = self.member.mailbox
        return [str(checkpoint) for checkpoint, _ in box._statuses] + (
            [f"{box._location.seen.fix_time:%S}"] if box._location else []
        )

    def changes(self) -> tuple[set[str], set[str]]:
        subscribe, unsubscribe = self.groups.subscriptions.take_changes()
        self.groups.subscriptions.activate(subscribe)
        return set(subscribe), set(unsubscribe)


def test_topics_are_wanted_from_the_first_member_to_the_last() -> None:
    watched = Watched()
    assert watched.changes() == ({STATUS_TOPIC, VAN_7}, set())
    second = member(Role.MANAGER)
    watched.groups.join(target(), second)
    watched.groups.leave(watched.group, watched.member)
    assert watched.changes() == (set(), set())
    watched.groups.leave(watched.group, second)
    assert watched.changes() == (set(), {STATUS_TOPIC, VAN_7})
    assert len(watched.groups) == 0


def test_a_van_of_two_watched_deliveries_is_wanted_until_both_are_left() -> None:
    watched = Watched()
    other = member(Role.MANAGER)
    second = watched.groups.join(target(delivery=43), other)
    watched.changes()
    watched.groups.leave(watched.group, watched.member)
    assert watched.changes() == (set(), {STATUS_TOPIC})
    watched.groups.leave(second, other)
    assert VAN_7 in watched.changes()[1]


def test_delivery_without_vehicle_wants_its_status_only() -> None:
    assert Watched(vehicle=None).changes() == ({STATUS_TOPIC}, set())


def test_reassignment_moves_the_position_subscription() -> None:
    watched = Watched()
    watched.changes()
    fan_out.handle_status(watched.groups, status(5, vehicle=8))
    assert watched.changes() == ({VAN_8}, {VAN_7})


def test_ended_delivery_wants_no_position_and_gets_none() -> None:
    watched = Watched()
    watched.changes()
    fan_out.send_position(watched.groups, position(1))
    fan_out.handle_status(watched.groups, status(5, "delivered"))
    fan_out.send_position(watched.groups, position(2))
    assert watched.changes() == (set(), {VAN_7})
    assert watched.got == ["5"]


@pytest.mark.parametrize("fact", [position(vehicle=8), position(company="other"), position(named=43)])
def test_position_of_another_van_company_or_delivery_is_not_for_us(fact: PositionFact) -> None:
    watched = Watched()
    fan_out.send_position(watched.groups, fact)
    assert watched.got == []


def test_older_position_is_dropped() -> None:
    watched = Watched()
    fan_out.send_position(watched.groups, position(5))
    fan_out.send_position(watched.groups, position(4))
    assert watched.got == ["05"]
    assert watched.member.mailbox.metrics.conflated._value.get() == 0


def test_status_is_announced_once_and_in_order() -> None:
    watched = Watched()
    watched.groups.set_baseline(watched.group, 4)
    for checkpoint in (4, 5, 5, 3, 6):
        fan_out.handle_status(watched.groups, status(checkpoint))
    assert watched.got == ["5", "6"]


def test_live_status_waits_while_the_group_is_behind() -> None:
    watched = Watched()
    watched.changes()
    watched.groups.mark_all_behind()
    [group] = watched.groups.take_outdated()
    fan_out.handle_status(watched.groups, status(6))
    assert watched.got == []
    fan_out.send_status(watched.groups, status(5))
    watched.groups.caught_up(group)
    assert group.is_behind, "6 came meanwhile: the database must be asked again"
    assert watched.groups.take_outdated() == [group]
    fan_out.send_status(watched.groups, status(6))
    watched.groups.caught_up(group)
    fan_out.handle_status(watched.groups, status(7))
    assert watched.got == ["5", "6", "7"]


def test_group_is_not_read_before_its_subscription_stands() -> None:
    watched = Watched()
    watched.groups.mark_all_behind()
    assert watched.groups.take_outdated() == []
    watched.changes()
    assert watched.groups.take_outdated() == [watched.group]


def test_new_connection_subscribes_everything_again() -> None:
    watched = Watched()
    watched.changes()
    watched.groups.subscriptions.reset()
    assert watched.changes() == ({STATUS_TOPIC, VAN_7}, set())


def test_topic_left_while_the_suback_was_on_its_way_is_unsubscribed() -> None:
    watched = Watched()
    subscribe, _ = watched.groups.subscriptions.take_changes()
    watched.groups.leave(watched.group, watched.member)
    watched.groups.subscriptions.activate(subscribe)
    assert watched.changes() == (set(), {STATUS_TOPIC, VAN_7})


def test_driver_who_lost_the_delivery_is_closed_by_the_database_row() -> None:
    watched = Watched()
    driver = member(Role.DRIVER)
    watched.groups.join(target(), driver)
    watched.groups.refresh(target(driver_id=4))
    assert driver.mailbox.close_code == close_codes.NOT_FOUND
    assert not watched.member.mailbox.closed.is_set()


def test_a_fact_that_contradicts_the_members_marks_the_group_outdated() -> None:
    watched = Watched()
    watched.changes()
    manager = member(Role.MANAGER)
    watched.groups.join(target(), manager)
    fan_out.send_position(watched.groups, position(1, customers=(6,), drivers=(3,)))
    assert watched.got == []
    assert manager.mailbox._location is not None
    assert watched.groups.take_outdated() == [watched.group]
    fan_out.handle_status(watched.groups, status(5, customer=6))
    assert watched.got == []
    assert len(manager.mailbox._statuses) == 1
    fan_out.send_position(watched.groups, position(2, customers=(5,), drivers=(3,)))
    assert watched.got == ["02"], "a fact from before may have been late: no watcher was closed for it"


def test_driver_who_lost_the_delivery_gets_no_more_of_its_facts() -> None:
    watched = Watched()
    driver = member(Role.DRIVER)
    watched.groups.join(target(), driver)
    fan_out.send_position(watched.groups, position(1, customers=(5,), drivers=(4,)))
    fan_out.handle_status(watched.groups, status(5, driver=4))
    fan_out.send_position(watched.groups, position(2, customers=(5,), drivers=(4,)))
    assert (driver.mailbox._location, list(driver.mailbox._statuses)) == (None, [])
    assert watched.got == ["5", "02"]


@pytest.mark.parametrize(
    ("person", "seen", "code"),
    [
        (PERSON, target(), None),
        (None, target(), close_codes.NOT_AUTHENTICATED),
        (Person(1, Role.CUSTOMER, None, 5, 2, None), target(), close_codes.NOT_AUTHENTICATED),
        (Person(1, Role.CUSTOMER, None, 5, 1, NOON), target(), close_codes.NOT_AUTHENTICATED),
        (Person(1, Role.OPERATOR, None, None, 1, None), target(), close_codes.NOT_AUTHENTICATED),
        (PERSON, None, close_codes.NOT_FOUND),
        (PERSON, target(customer_id=6), close_codes.NOT_FOUND),
        (PERSON, target(company_id=2), close_codes.NOT_FOUND),
    ],
)
def test_refusal(person: Person | None, seen: WatchedDelivery | None, code: int | None) -> None:
    assert refusal(member(), person, seen) == code
