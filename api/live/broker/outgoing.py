"""Positions that REST handlers have committed and that are not yet published to the broker."""

import asyncio
import threading
from collections.abc import Callable, Iterable

import aiomqtt

from api.live.reader import DatabaseReader
from broker import payloads
from core.deliveries import watched
from core.rules.facts import PositionFact

MAXIMUM_VEHICLES = 10_000


class OutgoingPositions:
    """The newest fact per vehicle. Filled from any thread, drained by the bridge on the event loop."""

    def __init__(self, maximum: int = MAXIMUM_VEHICLES) -> None:
        self.ready = asyncio.Event()
        self._maximum = maximum
        self._lock = threading.Lock()
        self._facts: dict[tuple[str, int], PositionFact] = {}
        self._wake: Callable[[], object] = lambda: None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = lambda: loop.call_soon_threadsafe(self.ready.set)

    def unbind(self) -> None:
        self._wake = lambda: None

    def put(self, facts: Iterable[PositionFact]) -> None:
        """Queue facts. Thread-safe.

        Beyond the bound the vehicle that has waited longest is dropped; its next fix is published again.
        """
        with self._lock:
            for fact in facts:
                vehicle = fact.company, fact.vehicle
                waiting = self._facts.get(vehicle)
                # Equal fix times replace: the same position may name another delivery by now.
                if waiting is None or waiting.fix_time <= fact.fix_time:
                    self._facts[vehicle] = fact
                if len(self._facts) > self._maximum:
                    del self._facts[next(iter(self._facts))]
        self._wake()

    def take(self) -> list[PositionFact]:
        with self._lock:
            facts, self._facts = list(self._facts.values()), {}
        self.ready.clear()
        return facts

    async def publish(self, client: aiomqtt.Client, reader: DatabaseReader) -> None:
        """Publish the facts as they come, until the connection ends; unpublished ones stay queued."""
        facts = self.take()
        try:
            # Positions queued while the broker was away may be stale: ingest may have published newer ones.
            facts = await reader.read(watched.still_newest, facts) if facts else []
            while True:
                while facts:
                    topic, payload = payloads.position_message(facts[-1])
                    await client.publish(topic, payload, qos=0, retain=True)
                    facts.pop()
                await self.ready.wait()
                facts = self.take()
        except BaseException:
            self.put(facts)
            raise

    def __len__(self) -> int:
        return len(self._facts)
