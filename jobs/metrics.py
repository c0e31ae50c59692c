"""Prometheus metrics of the jobs process."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.health import leader
from core.health.process_metrics import BuildCollector
from core.health.scraping import MetricsServer
from core.models.job import JobState
from core.models.record import Outbox
from core.nightly import job_states
from core.settings import Settings
from jobs.schedule.table import JOBS
from jobs.sender.metrics import QueueCollector

log = logging.getLogger(__name__)


class OutboxCollector(Collector):
    """Counts the outbox on each scrape; exports nothing while the database is away."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = select(func.count(), func.count(Outbox.parked_at)).select_from(Outbox)
        try:
            with self._sessions() as session:
                total, dead_letters = session.execute(counts).one()
        except SQLAlchemyError as error:
            log.warning("outbox_not_counted reason=%r", str(error))
            return
        yield GaugeMetricFamily(
            "milepost_outbox_waiting", "Outbox rows to be published", total - dead_letters
        )
        yield GaugeMetricFamily(
            "milepost_outbox_parked", "Outbox rows given up, kept to be looked at", dead_letters
        )


class JobsCollector(Collector):
    """Exports each job's state from the table, so that a new leader continues the series of the last one."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            with self._sessions() as session:
                states = job_states.read(session)
        except SQLAlchemyError as error:
            log.warning("jobs_not_read reason=%r", job_states.describe(error))
            return
        for name, text, value in JOB_GAUGES:
            family = GaugeMetricFamily(f"milepost_job_{name}", text, labels=["job"])
            for job in JOBS:
                state = states.get(job.name)
                if state is not None and (number := value(state)) is not None:
                    family.add_metric([job.name], number)
            yield family


class LeaderCollector(Collector):
    """Exports the leader that the database knows: a frozen leader exports nothing itself, a standby does."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            with self._sessions() as session:
                found = leader.read(session)
        except SQLAlchemyError as error:
            log.warning("leader_not_read reason=%r", job_states.describe(error))
            return
        leads = GaugeMetricFamily("milepost_jobs_leader", "The process that leads", labels=["holder"])
        silent = GaugeMetricFamily(
            "milepost_jobs_leader_silent_seconds",
            f"Since the lease was renewed; over {leader.LEASE_S:.0f}: stuck",
        )
        if found is not None:
            leads.add_metric([found.holder], 1)
            if found.silent_s is not None:
                silent.add_metric([], found.silent_s)
        yield leads
        yield silent


def _seconds(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()


JOB_GAUGES: tuple[tuple[str, str, Callable[[JobState], float | None]], ...] = (
    ("last_start_timestamp_seconds", "When it last began", lambda job: _seconds(job.last_started_at)),
    ("last_end_timestamp_seconds", "When a run last ended", lambda job: _seconds(job.last_ended_at)),
    ("last_success_timestamp_seconds", "When it last succeeded", lambda job: _seconds(job.last_succeeded_at)),
    ("next_run_timestamp_seconds", "When it will run next", lambda job: _seconds(job.next_run_at)),
    ("last_duration_seconds", "How long its last run took", lambda job: job.last_duration_s),
    ("consecutive_failures", "Runs in a row that failed", lambda job: job.consecutive_failures),
)


@contextmanager
def served(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[None]:
    """Serve ``/metrics`` inside the context, if a port is set. Raises `SettingsError` on a taken port."""
    if settings.jobs_metrics_port is None:
        yield
        return
    collectors = (
        OutboxCollector(sessions),
        QueueCollector(sessions),
        JobsCollector(sessions),
        LeaderCollector(sessions),
        BuildCollector(),  # the registry exports `process_*` itself
    )
    with ExitStack() as stack:
        # Before the server: no scrape may miss one of them.
        for collector in collectors:
            REGISTRY.register(collector)
            stack.callback(REGISTRY.unregister, collector)
        stack.callback(MetricsServer(settings, "jobs_metrics_port", REGISTRY).stop)
        yield
