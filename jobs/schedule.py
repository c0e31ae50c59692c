"""What is done by the clock: one table of jobs, run by the leader only.

A job is a function of a session and the time; it runs in its own transaction, at the leader's start and
then every so often. One that fails is logged and runs again at its next time.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import Counter
from sqlalchemy.orm import Session, sessionmaker

from core import (
    audit,
    idempotency,
    login_sessions,
    notification_cleaning,
    partitions,
    throttle,
    user_links,
)
from jobs import retained_facts, retention

log = logging.getLogger(__name__)

THREADS = 2
FAILED = Counter("milepost_job_failed", "Runs of a scheduled job that failed", ["job"])


@dataclass(frozen=True)
class Job:
    name: str
    every: timedelta
    work: Callable[[Session, datetime], object]


JOBS = (
    Job("partitions", timedelta(hours=6), partitions.ensure),
    Job("login_attempts", timedelta(minutes=15), throttle.clean),
    Job("login_sessions", timedelta(hours=1), login_sessions.clean),
    Job("user_links", timedelta(hours=6), user_links.clean),
    Job("failed_logins_of_strangers", timedelta(hours=6), audit.forget_strangers),
    Job("idempotency", timedelta(hours=1), idempotency.forget_old),
    Job("retained_facts", timedelta(minutes=1), retained_facts.clear_ended),
    Job("archived_vehicles", timedelta(minutes=1), retained_facts.clear_archived),
    Job("retention", timedelta(hours=6), retention.by_the_clock),
    Job("notifications_expired", timedelta(minutes=1), notification_cleaning.expire),
    Job("notifications_kept", timedelta(hours=6), notification_cleaning.forget),
)


@contextmanager
def running(sessions: sessionmaker[Session], jobs: tuple[Job, ...] = JOBS) -> Iterator[None]:
    """The jobs run while inside. On leaving none is begun; one under way ends its transaction by itself."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(THREADS)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    for job in jobs:
        trigger = IntervalTrigger(seconds=int(job.every.total_seconds()), timezone=UTC)
        scheduler.add_job(run_once, trigger, (job, sessions), id=job.name, next_run_time=datetime.now(UTC))
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


def run_once(job: Job, sessions: sessionmaker[Session]) -> None:
    """One run, committed. Never raises: there is nobody above to tell."""
    try:
        with sessions.begin() as session:
            result = job.work(session, datetime.now(UTC))
    except Exception:
        FAILED.labels(job.name).inc()
        log.exception("job_failed job=%s", job.name)
    else:
        if result:
            log.info("job_done job=%s result=%s", job.name, result)
