"""The worker's condition, written by its loop and read by the heartbeat thread: plain values, one writer."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from core.health.heartbeats import Beat, PartKind, PartState

FAULT_LASTS_S = 30.0  # a batch that cannot be stored is redelivered every few seconds
STUCK_AFTER_S = 20.0


class ShardView(msgspec.Struct, frozen=True):
    """A shard's state; ``fault`` says why it is not connected to the broker, None while it is."""

    name: str
    fault: str | None


class Condition:
    def __init__(self) -> None:
        self._looped_at = time.monotonic()
        self._fault: str | None = None
        self._fault_at = 0.0
        self._stored_at: datetime | None = None

    def record_loop(self) -> None:
        """Record that the loop has run once more, with or without messages."""
        self._looped_at = time.monotonic()

    def record_stored(self) -> None:
        self._stored_at = datetime.now(UTC)
        self._fault = None

    def record_fault(self, fault: str) -> None:
        self._fault_at = time.monotonic()
        self._fault = fault

    def beats(self, shards: Iterable[ShardView]) -> list[Beat]:
        """Return one beat per shard, with the worst fault known of it."""
        return [self._beat(shard) for shard in shards]

    def _beat(self, shard: ShardView) -> Beat:
        state, detail = self._state(shard)
        return Beat(
            part=PartKind.INGEST, name=shard.name, state=state, detail=detail, worked_at=self._stored_at
        )

    def _state(self, shard: ShardView) -> tuple[PartState, str | None]:
        now = time.monotonic()
        if (fault := self._fault) is not None and now - self._fault_at < FAULT_LASTS_S:
            return PartState.CANNOT_STORE, fault
        if shard.fault is not None:
            return PartState.OFF_BROKER, shard.fault
        if now - self._looped_at > STUCK_AFTER_S:
            return PartState.STUCK, f"for {now - self._looped_at:.0f} s"
        return PartState.OK, None
