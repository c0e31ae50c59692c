"""Track which topics are watched, by reference counts, and subscribe to exactly these on the broker."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from api.live.metrics import LiveMetrics
from broker import topics as broker_topics

TOPICS_PER_PACKET = 100
REFUSED_RETRY_S = 10.0
RETAIN_NEVER_SENT = 2  # MQTT 5 retain handling; snapshots come from the database instead

log = logging.getLogger(__name__)


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
        """Mark all topics as inactive: a new connection starts without subscriptions."""
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


async def keep_subscribed(
    client: aiomqtt.Client,
    subscriptions: Subscriptions,
    on_granted: Callable[[], object],
    metrics: LiveMetrics,
) -> None:
    """Subscribe and unsubscribe whenever the watched topics change; call ``on_granted`` after each SUBACK."""
    while True:
        await subscriptions.changed.wait()
        wanted, unwanted = subscriptions.take_changes()
        for start in range(0, len(wanted), TOPICS_PER_PACKET):
            await _subscribe(client, subscriptions, wanted[start : start + TOPICS_PER_PACKET], metrics)
            on_granted()
        for start in range(0, len(unwanted), TOPICS_PER_PACKET):
            await client.unsubscribe(unwanted[start : start + TOPICS_PER_PACKET])


async def _subscribe(
    client: aiomqtt.Client, subscriptions: Subscriptions, batch: list[str], metrics: LiveMetrics
) -> None:
    codes = await client.subscribe([(topic, _options(topic)) for topic in batch])
    refused = [topic for topic, code in zip(batch, codes, strict=True) if is_refusal(code)]
    subscriptions.activate([topic for topic in batch if topic not in refused])
    if refused:
        metrics.refused.inc(len(refused))
        log.error("the broker refused subscriptions topics=%s", refused)
        asyncio.get_running_loop().call_later(REFUSED_RETRY_S, subscriptions.retry, refused)


def _options(topic: str) -> SubscribeOptions:
    qos = 1 if isinstance(broker_topics.parse_fleet(topic), broker_topics.DeliveryTopic) else 0
    return SubscribeOptions(qos=qos, retainHandling=RETAIN_NEVER_SENT)


def is_refusal(code: object) -> bool:
    # aiomqtt returns `ReasonCode` for MQTT 5.
    return isinstance(code, ReasonCode) and code.is_failure
