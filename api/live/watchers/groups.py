"""Track which sockets watch which delivery, and which topics each delivery needs.

All of it runs on the event loop's thread and never waits. Facts are passed on by `fan_out`.
"""

import asyncio

from api.live import close_codes
from api.live.broker.subscriptions import Subscriptions
from api.live.events import LivePosition
from api.live.metrics import LiveMetrics
from api.live.watchers.mailbox import Mailbox
from broker import topics
from core.access.actors import Actor, sees
from core.accounts.token_holders import Person, TokenHolder
from core.deliveries.watched import WatchedDelivery
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
        self.delivery = target.delivery
        self.status_topic = topics.status(target.company, target.delivery)
        self.position_topic = _position_topic(target)
        self.members: set[Watcher] = set()
        self.last_checkpoint: int | None = None
        self.last_seen: LivePosition | None = None
        self.is_behind = False

    @property
    def topics(self) -> list[str]:
        return (
            [self.status_topic] if self.position_topic is None else [self.status_topic, self.position_topic]
        )


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
        self.by_delivery: dict[int, Group] = {}
        self._outdated: set[int] = set()

    def __len__(self) -> int:
        return len(self.by_delivery)

    def watching(self) -> list[tuple[Watcher, int]]:
        """Return every watcher with the id of the delivery it watches."""
        return [(member, group.delivery) for group in self.by_delivery.values() for member in group.members]

    def join(self, target: WatchedDelivery, member: Watcher) -> Group:
        group = self.by_delivery.get(target.delivery)
        if group is None:
            group = self.by_delivery[target.delivery] = Group(target)
            for topic in group.topics:
                self.subscriptions.acquire(topic)
        else:
            self.refresh(target)
        group.members.add(member)
        self.metrics.sockets.inc()
        self.metrics.groups.set(len(self.by_delivery))
        return group

    def leave(self, group: Group, member: Watcher) -> None:
        group.members.remove(member)
        self.metrics.sockets.dec()
        if not group.members:
            del self.by_delivery[group.delivery]
            self._outdated.discard(group.delivery)
            for topic in group.topics:
                self.subscriptions.release(topic)
        self.metrics.groups.set(len(self.by_delivery))

    def refresh(self, target: WatchedDelivery) -> None:
        """Take over the delivery's state from the database; close watchers that may no longer see it."""
        group = self.by_delivery.get(target.delivery)
        if group is None:
            return
        self.retarget(group, target)
        for member in group.members:
            if not sees(member.actor, target):
                member.mailbox.close(close_codes.NOT_FOUND)

    def retarget(self, group: Group, target: WatchedDelivery) -> None:
        """Replace the group's target and move the subscription when the delivery's vehicle changes."""
        before, after = group.position_topic, _position_topic(target)
        group.target, group.position_topic = target, after
        if target.status in FINAL:
            for member in group.members:
                member.mailbox.drop_location()
        if after == before:
            return
        if after is not None:
            self.subscriptions.acquire(after)
            self.mark_outdated(group)
        if before is not None:
            self.subscriptions.release(before)

    def set_baseline(self, group: Group, checkpoint: int) -> None:
        """Set where the group's new events begin, from its first snapshot."""
        if group.last_checkpoint is None:
            group.last_checkpoint = checkpoint

    def mark_outdated(self, group: Group) -> None:
        if self.by_delivery.get(group.delivery) is group:
            self._outdated.add(group.delivery)
            self.outdated.set()

    def mark_behind(self, group: Group) -> None:
        group.is_behind = True
        self.mark_outdated(group)

    def mark_all_behind(self) -> None:
        """Mark every group: facts may have been missed (a new connection, or a full queue)."""
        self.generation += 1
        for group in self.by_delivery.values():
            self.mark_behind(group)

    def take_outdated(self) -> list[Group]:
        """Return the outdated groups with active subscriptions, so that reading them leaves no gap."""
        self.outdated.clear()
        ready = [
            group
            for delivery in self._outdated
            if self.subscriptions.are_active((group := self.by_delivery[delivery]).topics)
        ]
        self._outdated.difference_update(group.delivery for group in ready)
        return ready

    def caught_up(self, group: Group) -> None:
        """End the catch-up, unless a live fact that arrived meanwhile has marked the group again."""
        group.is_behind = group.is_behind and group.delivery in self._outdated

    def close_all(self, code: int) -> None:
        for member, _delivery in self.watching():
            member.mailbox.close(code)


def _position_topic(target: WatchedDelivery) -> str | None:
    """Return the topic of the vehicle's positions; None without a vehicle and after the delivery's end."""
    if target.vehicle is None or target.status in FINAL:
        return None
    return topics.position(target.company, target.vehicle)


def refusal(member: Watcher, person: Person | None, target: WatchedDelivery | None) -> int | None:
    """Return the code to close a socket with, or None while its user may watch the delivery."""
    if person != member.person or member.person.disabled_at is not None:
        return close_codes.NOT_AUTHENTICATED
    return None if target is not None and sees(member.actor, target) else close_codes.NOT_FOUND
