"""Which topics must be subscribed on the broker, and which are: counted, compared, no I/O."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable


class Subscriptions:
    """Topics by the number of their watchers. ``changed`` is set while `take_changes` has some."""

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
        """Try again what the broker refused."""
        self._mark(topics)

    def take_changes(self) -> tuple[list[str], list[str]]:
        """What to subscribe and what to unsubscribe now. The latter counts as inactive from here on."""
        subscribe = [t for t in self._dirty if t in self._watchers and t not in self._active]
        unsubscribe = [t for t in self._dirty if t not in self._watchers and t in self._active]
        self._active.difference_update(unsubscribe)
        self._dirty.clear()
        self.changed.clear()
        return subscribe, unsubscribe

    def activate(self, topics: Collection[str]) -> None:
        """The broker has granted these."""
        self._active.update(topics)
        for topic in topics:
            if (event := self._waiting.pop(topic, None)) is not None:
                event.set()
            # The last watcher left while the SUBACK was on its way.
            if topic not in self._watchers:
                self._mark([topic])

    def reset(self) -> None:
        """A new connection knows no subscription."""
        self._active.clear()
        self._mark(self._watchers)

    def are_active(self, topics: Iterable[str]) -> bool:
        return self._active.issuperset(topics)

    async def wait_active(self, topics: Iterable[str]) -> None:
        """Until the broker has granted all; for ever while it is away or refuses."""
        for topic in topics:
            while topic not in self._active:
                await self._waiting.setdefault(topic, asyncio.Event()).wait()

    def _mark(self, topics: Iterable[str]) -> None:
        self._dirty.update(topics)
        if self._dirty:
            self.changed.set()
