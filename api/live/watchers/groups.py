"""Track which sockets watch which delivery, and pass each fact to the watchers entitled to it.

Invariants per delivery:

* Checkpoint ids only rise.
* A position is sent only if its fact names the delivery as under way, and it is of the delivery's vehicle and
  newer than the last one.
* An event goes only to actors who may see the delivery both as this process knows it and as the fact found
  it.
* An event is encoded once per group, not once per socket.
* While a group is behind (it may have missed facts), live status facts wait until the database has supplied
  the missing ones in order.

All of it runs on the event loop's thread and never waits.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice, zip_longest

import msgspec

from api.live import codes
from api.live.broker.subscriptions import Subscriptions
from api.live.events import LivePosition, location_event, sighting, status_event
from api.live.metrics import LiveMetrics
from api.live.watchers.mailbox import Mailbox
from broker import topics
from core.access.actors import Actor, sees
from core.accounts.token_holders import Person, TokenHolder
from core.deliveries.watched import WatchedDelivery
from core.rules.enums import Status
from core.rules.facts import PositionFact, StatusFact
from core.rules.lifecycle import FINAL


class Watcher:
    """One open socket: its actor, and the mailbox of events to send."""

    def __init__(self, actor: Actor, person: Person, mailbox: Mailbox) -> None:
        self.actor = actor
        self.holder = TokenHolder.of(actor)
        self.person = person
        self.mailbox = mailbox


class Group:
    """The watchers of one delivery. ``last_checkpoint`` is None until the first snapshot or fact."""

    def __init__(self, target: WatchedDelivery) -> None:
        self.target = target
        self.members: set[Watcher] = set()
        self.last_checkpoint: int | None = None
        self.last_seen: LivePosition | None = None
        self.is_behind = False

    @property
    def delivery(self) -> int:
        return self.target.delivery

    @property
    def topics(self) -> list[str]:
        company, vehicle = self.target.company, self.target.vehicle
        wanted = [topics.status(company, self.delivery)]
        if vehicle is not None and self.target.status not in FINAL:
            wanted.append(topics.position(company, vehicle))
        return wanted


class Groups:
    """All groups of this process. ``outdated`` is set while `take_outdated` may have groups to return.

    ``generation`` counts the times facts may have been missed: a reader of a snapshot compares it before and
    after.
    """

    def __init__(self, metrics: LiveMetrics) -> None:
        self.subscriptions = Subscriptions()
        self.outdated = asyncio.Event()
        self.generation = 0
        self.metrics = metrics
        self._groups: dict[int, Group] = {}
        self._outdated: set[int] = set()

    def __len__(self) -> int:
        return len(self._groups)

    def watching(self) -> list[tuple[Watcher, int]]:
        """Return every watcher with the id of the delivery it watches."""
        return [(member, group.delivery) for group in self._groups.values() for member in group.members]

    def join(self, target: WatchedDelivery, member: Watcher) -> Group:
        group = self._groups.get(target.delivery)
        if group is None:
            group = self._groups[target.delivery] = Group(target)
            for topic in group.topics:
                self.subscriptions.acquire(topic)
        else:
            self.refresh(target)
        group.members.add(member)
        self.metrics.sockets.inc()
        self.metrics.groups.set(len(self._groups))
        return group

    def leave(self, group: Group, member: Watcher) -> None:
        group.members.remove(member)
        self.metrics.sockets.dec()
        if not group.members:
            del self._groups[group.delivery]
            self._outdated.discard(group.delivery)
            for topic in group.topics:
                self.subscriptions.release(topic)
        self.metrics.groups.set(len(self._groups))

    def refresh(self, target: WatchedDelivery) -> None:
        """Take over the delivery's state from the database; close watchers that may no longer see it."""
        group = self._groups.get(target.delivery)
        if group is None:
            return
        self._retarget(group, target)
        for member in group.members:
            if not sees(member.actor, target):
                member.mailbox.close(codes.NOT_FOUND)

    def _retarget(self, group: Group, target: WatchedDelivery) -> None:
        """Replace the group's target and move the subscription when the delivery's vehicle changes."""
        before = group.topics
        group.target = target
        if target.status in FINAL:
            for member in group.members:
                member.mailbox.forget_location()
        after = group.topics
        for topic in after:
            if topic not in before:
                self.subscriptions.acquire(topic)
                self.mark_outdated(group)
        for topic in before:
            if topic not in after:
                self.subscriptions.release(topic)

    def on_status(self, fact: StatusFact) -> None:
        """Handle a live status fact."""
        group = self._groups.get(fact.delivery)
        if group is None or group.target.company != fact.company:
            return
        if group.is_behind:
            self.mark_outdated(group)
            return
        if self.announce(fact):
            # The fact carries neither drop-off nor position; `CatchUp` reads them.
            self.mark_outdated(group)

    def announce(self, fact: StatusFact) -> bool:
        """Send the checkpoint to the group's watchers; return False if they have had it already."""
        group = self._groups.get(fact.delivery)
        if group is None or fact.checkpoint <= (group.last_checkpoint or 0):
            return False
        group.last_checkpoint = fact.checkpoint
        # Retarget at once, without waiting for the database; `refresh` follows.
        self._retarget(group, _after(group.target, fact))
        event = status_event(fact)
        for member in self._entitled(group, fact.customer):
            member.mailbox.offer_status(event)
        return True

    def on_position(self, fact: PositionFact) -> None:
        for delivery, customer, driver in _named(fact):
            group = self._groups.get(delivery)
            if group is None or (group.target.company, group.target.vehicle) != (fact.company, fact.vehicle):
                continue
            seen = sighting(fact)
            if group.target.status in FINAL or not seen.is_after(group.last_seen):
                continue
            group.last_seen = seen
            event = location_event(fact, delivery, group.target.dropoff)
            for member in self._entitled(group, customer, driver):
                member.mailbox.offer_location(event)

    def _entitled(
        self, group: Group, customer: int | None = None, driver: int | None = None
    ) -> list[Watcher]:
        """Return the watchers that may see the delivery both as known here and as the fact found it.

        None means that the fact does not name a customer or driver. If fact and target disagree on customer
        or driver, the group is marked outdated, and the database decides.
        """
        known = group.target
        found = msgspec.structs.replace(
            known, customer_id=customer or known.customer_id, driver_id=driver or known.driver_id
        )
        if (found.customer_id, found.driver_id) != (known.customer_id, known.driver_id):
            self.mark_outdated(group)
        return [member for member in group.members if sees(member.actor, known) and sees(member.actor, found)]

    def set_baseline(self, group: Group, checkpoint: int) -> None:
        """Set where the group's new events begin, from its first snapshot."""
        if group.last_checkpoint is None:
            group.last_checkpoint = checkpoint

    def mark_outdated(self, group: Group) -> None:
        if self._groups.get(group.delivery) is group:
            self._outdated.add(group.delivery)
            self.outdated.set()

    def mark_behind(self, group: Group) -> None:
        group.is_behind = True
        self.mark_outdated(group)

    def mark_all_behind(self) -> None:
        """Mark every group: facts may have been missed (a new connection, or a full queue)."""
        self.generation += 1
        for group in self._groups.values():
            self.mark_behind(group)

    def take_outdated(self) -> list[Group]:
        """Return the outdated groups with active subscriptions, so that reading them leaves no gap."""
        self.outdated.clear()
        ready = [
            group
            for delivery in self._outdated
            if self.subscriptions.are_active((group := self._groups[delivery]).topics)
        ]
        self._outdated.difference_update(group.delivery for group in ready)
        return ready

    def caught_up(self, group: Group) -> None:
        """End the catch-up, unless a live fact that arrived meanwhile has marked the group again."""
        group.is_behind = group.is_behind and group.delivery in self._outdated

    def close_all(self, code: int) -> None:
        for member, _delivery in self.watching():
            member.mailbox.close(code)


def _named(fact: PositionFact) -> Iterable[tuple[int, int | None, int | None]]:
    """Yield (delivery, customer, driver) for each delivery of the fact.

    Customer or driver is None where the fact does not name one.
    """
    return islice(zip_longest(fact.deliveries, fact.customers, fact.drivers), len(fact.deliveries))


def _after(target: WatchedDelivery, fact: StatusFact) -> WatchedDelivery:
    return msgspec.structs.replace(
        target, status=Status(fact.status), vehicle=fact.vehicle, driver_id=fact.driver
    )


def refusal(member: Watcher, person: Person | None, target: WatchedDelivery | None) -> int | None:
    """Return the code to close a socket with, or None while its user may watch the delivery."""
    if person != member.person or member.person.disabled_at is not None:
        return codes.NOT_AUTHENTICATED
    return None if target is not None and sees(member.actor, target) else codes.NOT_FOUND
