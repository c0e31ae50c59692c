"""Pass each fact to the watchers of its delivery: choose them, build the event, put it into their mailboxes.

Invariants per delivery:

* Checkpoint ids only rise.
* A position is sent only if its fact names the delivery as under way, and it is of the delivery's vehicle and
  newer than the last one.
* An event goes only to actors who may see the delivery both as this process knows it and as the fact found
  it.
* An event is encoded once per group, not once per socket.
* While a group is behind (it may have missed facts), live status facts wait until the database has supplied
  the missing ones in order.
"""

from itertools import islice, zip_longest

import msgspec

from api.live.events import LivePosition, location_event, status_event
from api.live.watchers.groups import Group, Groups, Watcher
from core.access.actors import sees
from core.deliveries.watched import WatchedDelivery
from core.rules.enums import Status
from core.rules.facts import PositionFact, StatusFact
from core.rules.lifecycle import FINAL


def send_position(groups: Groups, fact: PositionFact) -> None:
    """Send the position to the watchers of each delivery that the fact names."""
    # Customer or driver is None where the fact does not name one.
    named = zip_longest(fact.deliveries, fact.customers, fact.drivers)
    for delivery, customer, driver in islice(named, len(fact.deliveries)):
        group = groups.by_delivery.get(delivery)
        if group is None or (group.target.company, group.target.vehicle) != (fact.company, fact.vehicle):
            continue
        watchers = _entitled(groups, group, group.target, customer, driver)
        position = LivePosition(fact.vehicle, fact.fix_time)
        if group.target.status in FINAL or not position.is_after(group.last_seen):
            continue
        group.last_seen = position
        event = location_event(fact, delivery, group.target.dropoff)
        for watcher in watchers:
            watcher.mailbox.offer_location(event)


def handle_status(groups: Groups, fact: StatusFact) -> None:
    """Send a live status fact, unless the group first needs the ones that it missed."""
    group = groups.by_delivery.get(fact.delivery)
    if group is None or group.target.company != fact.company:
        return
    if group.is_behind:
        groups.mark_outdated(group)
    elif send_status(groups, fact) and group.target.status not in FINAL:
        # The fact carries neither drop-off nor position; `CatchUp` reads them. Both end with the delivery.
        groups.mark_outdated(group)


def send_status(groups: Groups, fact: StatusFact) -> bool:
    """Send the checkpoint to the group's watchers; return False if they have had it already."""
    group = groups.by_delivery.get(fact.delivery)
    if group is None or fact.checkpoint <= (group.last_checkpoint or 0):
        return False
    group.last_checkpoint = fact.checkpoint
    target = msgspec.structs.replace(
        group.target, status=Status(fact.status), vehicle=fact.vehicle, driver_id=fact.driver
    )
    watchers = _entitled(groups, group, target, fact.customer)
    event = status_event(fact)
    for watcher in watchers:
        watcher.mailbox.offer_status(event)
    # At once, without waiting for the database; `Groups.refresh` follows.
    groups.retarget(group, target)
    return True


def _entitled(
    groups: Groups,
    group: Group,
    known: WatchedDelivery,
    customer: int | None = None,
    driver: int | None = None,
) -> list[Watcher]:
    """Return the watchers that may see the delivery both as ``known`` and as the fact found it.

    None means that the fact does not name a customer or driver. If the two disagree on customer or driver,
    the group is marked outdated, and the database decides.
    """
    found = msgspec.structs.replace(
        known, customer_id=customer or known.customer_id, driver_id=driver or known.driver_id
    )
    if (found.customer_id, found.driver_id) != (known.customer_id, known.driver_id):
        groups.mark_outdated(group)
    return [member for member in group.members if sees(member.actor, known) and sees(member.actor, found)]
