"""The table of all scheduled jobs, and the schedule by which the leader runs them.

Each job runs when the leader starts and then at its interval, in a thread of its own. A failure is reported
(log, `job` table, metrics) and retried sooner than the next interval, with a back-off.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.accounts import links, login_sessions, throttle
from core.database import partitions
from core.deliveries import search_words
from core.nightly import job_states, nights
from core.notifications import housekeeping
from core.operations import retained_facts
from core.records import audit, idempotency
from core.reporting import daily_report
from jobs.schedule.run import ME, Job, JobRun, Nightly, drained, once, run_job
from jobs.schedule.threads import ThreadARun
from jobs.tasks import detectors, retention

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

JOBS = (
    Job("partitions", "Creates the coming partitions of `position`.", 6 * HOUR, once(partitions.ensure)),
    Job(
        "login_attempts",
        "Purges old counts of log-in attempts.",
        15 * MINUTE,
        once(throttle.purge_old_attempts),
    ),
    Job("login_sessions", "Purges ended log-in sessions.", HOUR, once(login_sessions.purge_ended)),
    Job("user_links", "Purges ended invitations and password resets.", 6 * HOUR, once(links.purge_ended)),
    Job(
        "failed_logins_of_strangers",
        "Purges old audit entries of log-ins with unknown e-mail addresses.",
        6 * HOUR,
        once(audit.purge_without_tenant),
    ),
    Job(
        "retained_facts",
        "Clears a delivery's retained fact a day after its end.",
        MINUTE,
        drained(retained_facts.clear_ended),
    ),
    Job(
        "archived_vehicles",
        "Clears archived vehicles' retained positions once more.",
        MINUTE,
        once(retained_facts.clear_archived),
    ),
    Job("idempotency", "Purges stored responses after a day.", HOUR, once(idempotency.purge_old_responses)),
    Job(
        "retention",
        "Purges fixes, deliveries and records past their retention period.",
        6 * HOUR,
        retention.by_the_clock,
    ),
    Job("late_deliveries", "Reports deliveries whose window has ended.", MINUTE, detectors.late),
    Job(
        "near_arrivals",
        "Notifies customers whose delivery arrives soon.",
        MINUTE / 2,
        detectors.arriving_soon,
    ),
    Job(
        "silent_devices",
        "Reports devices that are silent while a delivery is under way.",
        MINUTE,
        detectors.silent,
    ),
    Job(
        "daily_reports",
        "Computes each company's report of the previous day.",
        15 * MINUTE,
        Nightly(1, daily_report.make),
    ),
    Job(
        "delivery_words",
        "Computes search words of deliveries stored by an older Milepost.",
        MINUTE,
        drained(search_words.fill),
    ),
    Job("nightly_runs", "Purges old marks of nightly work.", 24 * HOUR, once(nights.purge_old_runs)),
    Job(
        "notifications",
        "Checks that the sender sends due notifications.",
        MINUTE,
        once(housekeeping.check_overdue),
    ),
    Job(
        "notifications_expired",
        "Expires notifications that are too old to send.",
        MINUTE,
        drained(housekeeping.expire_old),
    ),
    Job(
        "notifications_kept",
        "Purges old notifications.",
        6 * HOUR,
        drained(housekeeping.purge_old),
    ),
)


def find(name: str) -> Job | None:
    return next((job for job in JOBS if job.name == name), None)


class Schedule:
    """The jobs of one leader's term."""

    def __init__(
        self, sessions: sessionmaker[Session], jobs: Sequence[Job], is_over: Callable[[], bool]
    ) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._is_over = is_over
        self._stop = threading.Event()
        self._threads = ThreadARun()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": self._threads},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        self._scheduler.add_listener(_overrun, EVENT_JOB_MAX_INSTANCES)
        for job in self._jobs:
            trigger = IntervalTrigger(seconds=int(job.every.total_seconds()), timezone=UTC)
            self._scheduler.add_job(self._run, trigger, (job,), id=job.name, next_run_time=datetime.now(UTC))
        self._scheduler.start()

    def end(self) -> None:
        """Start no more jobs; stop those under way after their present transaction."""
        self._stop.set()
        self._scheduler.shutdown(wait=False)

    def wait(self, timeout_s: float) -> list[str]:
        """Wait for the jobs after `end`; return the names of those still running after ``timeout_s``."""
        return self._threads.wait(timeout_s)

    def _run(self, job: Job) -> None:
        if self._is_over():  # a leader that thaws finds all its jobs due at once
            return
        outcome = run_job(job, JobRun(job.name, self._sessions, self._stop))
        try:
            next_run_at = self._next_run(job, outcome.failures)
            with self._sessions.begin() as session:
                job_states.planned(session, job.name, ME, next_run_at)
        except JobLookupError:
            pass  # the term has ended: the next leader plans
        except SQLAlchemyError as error:
            log.warning("job_not_planned job=%s reason=%r", job.name, job_states.describe(error))

    def _next_run(self, job: Job, failures: int) -> datetime | None:
        """Return the next run, sooner after a failure. Raises `JobLookupError` after the schedule's end."""
        planned: datetime | None = getattr(self._scheduler.get_job(job.name), "next_run_time", None)
        if not failures:
            return planned
        again: datetime = datetime.now(UTC) + job_states.retry_after(failures, job.every)
        if planned is not None and planned <= again:
            return planned
        self._scheduler.modify_job(job.name, next_run_time=again)
        return again


@contextmanager
def running(
    sessions: sessionmaker[Session], jobs: Sequence[Job] = JOBS, is_over: Callable[[], bool] = lambda: False
) -> Iterator[Schedule]:
    """Run the jobs inside the context, until ``is_over``."""
    # On exit no job starts any more; one under way ends after its present transaction.
    schedule = Schedule(sessions, jobs, is_over)
    schedule.start()
    try:
        yield schedule
    finally:
        schedule.end()


def _overrun(event: Any) -> None:
    log.error("alert=job_overruns job=%s", event.job_id)
