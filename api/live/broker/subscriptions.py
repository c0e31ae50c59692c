"""Track which topics must be subscribed on the broker and which are, by reference counts. No I/O."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable


class Subscriptions:
    """Topics with their number of watchers. ``changed`` is set while `take_changes` has changes to return."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._watchers: Counter[str] = Counter()
        self._active: set[str] = set()
        self._dirty: set[str] = set()
        self._waiting: dict[str, asyncio.Event] = {}

    def acquire(self, topic: str) -> None:
        self._watchers[topic] += 1
        if self._watchers[topic] == 1:
            self._mark([topic])

    def release(self, topic: str) -> None:
        self._watchers[topic] -= 1
        if self._watchers[topic] == 0:
            del self._watchers[topic]
            self._waiting.pop(topic, None)
            self._mark([topic])

    def retry(self, topics: Iterable[str]) -> None:
        """Mark topics that the broker refused, to try them again."""
        self._mark(topics)

    def take_changes(self) -> tuple[list[str], list[str]]:
        """Return topics to subscribe and topics to unsubscribe; the latter count as inactive at once."""
        subscribe = [t for t in self._dirty if t in self._watchers and t not in self._active]
        unsubscribe = [t for t in self._dirty if t not in self._watchers and t in self._active]
        self._active.difference_update(unsubscribe)
        self._dirty.clear()
        self.changed.clear()
        return subscribe, unsubscribe

    def activate(self, topics: Collection[str]) -> None:
        """Mark topics as granted by the broker."""
        self._active.update(topics)
        for topic in topics:
            if (event := self._waiting.pop(topic, None)) is not None:
                event.set()
            # The last watcher may have left while the SUBACK was in flight.
            if topic not in self._watchers:
                self._mark([topic])

    def reset(self) -> None:
        """Forget all active topics: a new connection starts without subscriptions."""
        self._active.clear()
        self._mark(self._watchers)

    def are_active(self, topics: Iterable[str]) -> bool:
        return self._active.issuperset(topics)

    async def wait_active(self, topics: Iterable[str]) -> None:
        """Wait until the broker has granted all topics: without limit while it is away or refuses."""
        for topic in topics:
            while topic not in self._active:
                await self._waiting.setdefault(topic, asyncio.Event()).wait()

    def _mark(self, topics: Iterable[str]) -> None:
        self._dirty.update(topics)
        if self._dirty:
            self.changed.set()
