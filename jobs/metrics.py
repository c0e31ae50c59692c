"""Prometheus metrics of the jobs process, on the loopback address only."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.models import Outbox
from jobs.sender_metrics import QueueCollector

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


class OutboxCollector(Collector):
    """Counts the outbox when it is asked; says nothing while the database is away."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = select(func.count(), func.count(Outbox.parked_at)).select_from(Outbox)
        try:
            with self._sessions() as session:
                total, parked = session.execute(counts).one()
        except SQLAlchemyError as error:
            log.warning("outbox_not_counted reason=%r", str(error))
            return
        yield GaugeMetricFamily("milepost_outbox_waiting", "Outbox rows to be published", total - parked)
        yield GaugeMetricFamily(
            "milepost_outbox_parked", "Outbox rows given up, kept to be looked at", parked
        )


@contextmanager
def served(port: int | None, sessions: sessionmaker[Session]) -> Iterator[None]:
    """Answer ``/metrics`` while inside; without a port do nothing. Raises `OSError` on a taken port."""
    if port is None:
        yield
        return
    collectors = (OutboxCollector(sessions), QueueCollector(sessions))
    for collector in collectors:
        REGISTRY.register(collector)
    server, thread = start_http_server(port, addr=LOOPBACK)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for collector in collectors:
            REGISTRY.unregister(collector)
