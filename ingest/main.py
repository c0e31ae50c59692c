"""The ingest process."""

import gc
import logging
import signal

from core.database.engine import make_engine, make_sessions
from core.health.beating import beating
from core.settings import Settings
from ingest.metrics import IngestMetrics
from ingest.worker import Worker, shards_of

TAKEN_OVER = 3

log = logging.getLogger(__name__)


def run(settings: Settings, worker: int = 0, workers: int = 1) -> int:
    """Run worker ``worker`` of ``workers`` until SIGTERM or SIGINT; return the exit status."""
    engine = make_engine(settings, process="ingest", pool_size=1, overflow=1)
    metrics = IngestMetrics()
    metrics.serve(settings)
    shards = shards_of(worker, workers)
    loop = Worker(settings, make_sessions(engine), shards, metrics)
    stopped_by: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped_by.append(number)
        loop.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # A batch holds thousands of objects and no cycles; the default thresholds would rescan them.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    log.info("started worker=%d workers=%d shards=%s", worker, workers, "".join(shards))
    with beating(settings, loop.beats):
        loop.run()
    engine.dispose()
    if not stopped_by:
        log.error(
            "every shard was taken over by another worker: is worker %d of %d running twice?", worker, workers
        )
        return TAKEN_OVER
    log.info("stopped worker=%d", worker)
    return 0
