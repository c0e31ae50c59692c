"""The worker's loop, in one thread: receive a batch, process it, repeat.

Invariant: nothing is acknowledged before its transaction has committed. When the database is away, the worker
disconnects from the broker, which queues for it, and reconnects when the database answers again.
"""

import logging
import threading
from collections.abc import Sequence
from secrets import token_hex

from broker import connection
from core.backoff import Backoff
from core.health.heartbeats import Beat
from core.identities import SHARDS, ingest_user
from core.positions import newest
from core.request_ids import CURRENT
from core.settings import Settings
from ingest.condition import Condition
from ingest.metrics import IngestMetrics
from ingest.pipeline import Pipeline, fact_packet
from ingest.receiver import ReceivedMessage, Receiver
from ingest.storing import DatabaseAway, Sessions, is_reachable, transaction

log = logging.getLogger(__name__)


def shards_of(worker: int, workers: int) -> list[str]:
    """Return the shards of worker k of n: each shard s with ``s % n == k``."""
    if not 1 <= workers <= len(SHARDS) or not 0 <= worker < workers:
        raise ValueError(f"worker must be from 0 to workers - 1, and workers from 1 to {len(SHARDS)}")
    return [shard for index, shard in enumerate(SHARDS) if index % workers == worker]


class Worker:
    def __init__(
        self, settings: Settings, sessions: Sessions, shards: Sequence[str], metrics: IngestMetrics
    ) -> None:
        self._lost: list[str] = []
        logins = [(shard, connection.login(settings, ingest_user(shard))) for shard in shards]
        self._receiver = Receiver(logins, self._lost.append)
        self._pipeline = Pipeline(self._receiver, sessions, metrics)
        self._sessions = sessions
        self._metrics = metrics
        self._condition = Condition()
        self._backoff = Backoff(limit_s=3.0)
        self._stop = threading.Event()

    @property
    def connected(self) -> int:
        """Return the number of shards with a connection."""
        return self._receiver.connected

    def beats(self) -> list[Beat]:
        """Return one beat per shard. Called by the heartbeat thread."""
        return self._condition.beats(self._receiver.shards)

    def stop(self) -> None:
        """Make the loop end after the current batch."""
        self._stop.set()

    def run(self) -> None:
        """Run until stopped, or until other workers have taken over every shard."""
        try:
            while not self._stop.is_set() and not self._receiver.is_taken_over:
                self._work()
        finally:
            self._receiver.close()

    def _work(self) -> None:
        batch: list[ReceivedMessage] = []
        CURRENT.set(None)
        try:
            self._condition.record_loop()
            batch = self._receiver.next_batch()
            self._metrics.connected.set(self._receiver.connected)
            self._republish()
            if batch:
                CURRENT.set(f"batch-{token_hex(8)}")
                self._pipeline.process(batch)
                self._condition.record_stored()
                self._backoff.reset()
        except DatabaseAway as away:
            self._wait_for_database(away, len(batch))

    def _wait_for_database(self, away: DatabaseAway, messages: int) -> None:
        """Disconnect until the database answers: the broker redelivers the unacknowledged batch."""
        self._condition.record_fault(away.fault)
        self._receiver.disconnect()
        self._metrics.database_away.inc()
        log.warning("database_away messages_returned=%d reason=%s", messages, away)
        while not self._stop.wait(self._backoff.next()):
            if is_reachable(self._sessions):
                log.info("database_back")
                return

    def _republish(self) -> None:
        """Republish retained positions: a broker that lost a session may have lost them too."""
        while self._lost:
            self._republish_shard(self._lost[-1])
            self._lost.pop()

    def _republish_shard(self, shard: str) -> None:
        """Republish the shard's part of the positions of all vehicles."""
        # Vehicles are split among the shards by id: a broker that lost every session gets each vehicle once.
        part, parts = SHARDS.index(shard), len(SHARDS)
        facts = transaction(self._sessions, lambda session, _now: newest.newest_facts(session, part, parts))
        target = self._receiver.connection_of(shard)
        if target is not None and facts:
            packets = (fact_packet(fact) for fact in facts)
            self._receiver.send(target, b"".join(packets))
            log.info("positions_republished shard=%s vehicles=%d", shard, len(facts))
