"""One run of one job, and its record in the database.

A job has a body: a function of a `JobRun`. Most are built here from a function of a session and the time:
`once` (one transaction), `drained` (transactions until no work is left) or `Nightly` (one transaction per
company and night). Two leaders may run the same job at once: its work must be idempotent, or claim its rows
with ``FOR UPDATE SKIP LOCKED``.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter
from sqlalchemy.orm import Session, sessionmaker

from core.nightly import job_states, nights
from core.nightly.job_states import JobFailed
from core.nightly.nights import Night

log = logging.getLogger(__name__)

ALERT_AFTER = 3
FAILED = Counter("milepost_job_failed", "Runs of a scheduled job that failed", ["job"])
ME = f"{socket.gethostname()}:{os.getpid()}"
_LONGEST_RESULT = 200


@dataclass(frozen=True)
class JobRun:
    """The context of a body. It checks ``stop`` between two transactions, and leaves the rest undone."""

    job: str
    sessions: sessionmaker[Session]
    stop: threading.Event


Work = Callable[[Session, datetime], object]
Body = Callable[[JobRun], object]


@dataclass(frozen=True)
class Job:
    """``does`` is one line for operators; the return value of ``body`` is shown as its result."""

    name: str
    does: str
    every: timedelta
    body: Body


@dataclass(frozen=True)
class RunOutcome:
    """``failures`` counts consecutive failures, this one included; 0 means success."""

    result: str | None
    error: str | None
    failures: int


def once(work: Work) -> Body:
    """Return a body that does ``work`` in one transaction."""

    def body(run: JobRun) -> object:
        with run.sessions.begin() as session:
            return work(session, datetime.now(UTC))

    return body


def drained(work: Callable[[Session, datetime], int]) -> Body:
    """Return a body that does ``work``, a transaction per batch, until none is left; it counts the items."""

    def body(run: JobRun) -> int:
        total = 0
        while not run.stop.is_set():
            with run.sessions.begin() as session:
                done = work(session, datetime.now(UTC))
            if not done:
                break
            total += done
        return total

    return body


@dataclass(frozen=True)
class Nightly:
    """A body that runs ``work`` once per company and local day, at ``hour`` local time on the next day.

    Each in a transaction of its own; failed ones are due again at the job's next run. The work must not leave
    its transaction idle for a minute: PostgreSQL would end it.
    """

    hour: int
    work: Callable[[Session, Night, datetime], object]

    def __call__(self, run: JobRun) -> int:
        with run.sessions() as session:
            due = nights.due(session, run.job, self.hour, datetime.now(UTC))
        done, errors = 0, []
        for night in due:
            if run.stop.is_set():
                break
            now = datetime.now(UTC)
            try:
                with run.sessions.begin() as session:
                    if nights.claim(session, run.job, night, now):
                        self.work(session, night, now)
                done += 1
            except Exception as error:
                errors.append(_log_failed_night(run.job, night, error))
        if errors:
            raise JobFailed(f"{len(errors)} of {len(errors) + done} nights failed; the first: {errors[0]}")
        return done


def run_job(job: Job, run: JobRun) -> RunOutcome:
    """Run a job and record its start and its end. Never raises: no caller could handle an error."""
    begun = time.monotonic()
    result = error = None
    try:
        with run.sessions.begin() as session:
            job_states.started(session, job.name, ME, datetime.now(UTC))
        if returned := job.body(run):
            result = str(returned)[:_LONGEST_RESULT]
    except Exception as failure:
        error = job_states.describe(failure)
    failures = _record_end(job, run, time.monotonic() - begun, result, error)
    if error is not None:
        _log_failed_run(job, failures, error)
    elif result:
        log.info("job_done job=%s result=%s", job.name, result)
    return RunOutcome(result, error, failures)


def _record_end(job: Job, run: JobRun, duration_s: float, result: str | None, error: str | None) -> int:
    """Record the end; return the number of consecutive failures."""
    # If the database is away, this failure counts as the first; that is logged as an error of its own.
    try:
        with run.sessions.begin() as session:
            failures = job_states.ended(
                session, job.name, ME, datetime.now(UTC), duration_s=duration_s, result=result, error=error
            )
    except Exception as failure:
        log.warning("job_not_written_down job=%s reason=%r", job.name, job_states.describe(failure))
        failures = None
    if failures is None:
        return 0 if error is None else 1
    return failures


def _log_failed_run(job: Job, failures: int, error: str) -> None:
    FAILED.labels(job.name).inc()
    alert = "alert=job_failing" if failures >= ALERT_AFTER else "job_failed"
    level = logging.ERROR if _is_worth_an_error(failures) else logging.INFO
    log.log(level, "%s job=%s failures=%d error=%r", alert, job.name, failures, error)


def _log_failed_night(job: str, night: Night, error: Exception) -> str:
    """Log that a company's night failed; return the description for users."""
    described = job_states.describe(error)
    log.error("night_failed job=%s company=%s day=%s error=%r", job, night.company, night.day, described)
    return f"company {night.company_id}, {night.day}: {described}"


def _is_worth_an_error(failures: int) -> bool:
    """Return True up to the alert, then at each doubling: a job failing each minute must not fill the log."""
    doublings, rest = divmod(failures, ALERT_AFTER)
    return failures <= ALERT_AFTER or (rest == 0 and doublings & (doublings - 1) == 0)
