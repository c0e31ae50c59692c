"""One run of one job, and its record in the database.

A job has a body: a function of a `Run`. Most bodies are built here from a function of a session and the time:
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
class Run:
    """The context of a body. It checks ``stop`` between two transactions, and leaves the rest undone."""

    job: str
    sessions: sessionmaker[Session]
    stop: threading.Event


Work = Callable[[Session, datetime], object]
Body = Callable[[Run], object]


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

    def body(run: Run) -> object:
        with run.sessions.begin() as session:
            return work(session, datetime.now(UTC))

    return body


def drained(work: Callable[[Session, datetime], int]) -> Body:
    """Return a body that does ``work``, a transaction per batch, until none is left; it counts the items."""

    def body(run: Run) -> int:
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

    def __call__(self, run: Run) -> int:
        now = datetime.now(UTC)
        with run.sessions() as session:
            due = nights.due(session, run.job, self.hour, now)
        errors = [self._do(run, night) for night in due if not run.stop.is_set()]
        failed = [error for error in errors if error is not None]
        if failed:
            raise JobFailed(f"{len(failed)} of {len(errors)} nights failed; the first: {failed[0]}")
        return len(errors)

    def _do(self, run: Run, night: Night) -> str | None:
        """Do one company's night; return the error's description, or None."""
        now = datetime.now(UTC)
        try:
            with run.sessions.begin() as session:
                if nights.claim(session, run.job, night, now):
                    self.work(session, night, now)
        except Exception as error:
            described = job_states.describe(error)
            log.error(
                "night_failed job=%s company=%s day=%s error=%r",
                run.job,
                night.company,
                night.day,
                described,
            )
            return f"company {night.company_id}, {night.day}: {described}"
        return None


def run_job(job: Job, run: Run) -> RunOutcome:
    """Run a job and record its start and its end. Never raises: no caller could handle an error."""
    begun = time.monotonic()
    result = error = None
    try:
        with run.sessions.begin() as session:
            job_states.started(session, job.name, ME, datetime.now(UTC))
        result = _text(job.body(run))
    except Exception as failure:
        error = job_states.describe(failure)
    outcome = RunOutcome(result, error, _ended(job, run, time.monotonic() - begun, result, error))
    _tell(job, outcome)
    return outcome


def _ended(job: Job, run: Run, duration_s: float, result: str | None, error: str | None) -> int:
    """Record the end; return the number of consecutive failures."""
    # Without the database, whose absence is an error by itself, this failure counts as the first.
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


def _tell(job: Job, outcome: RunOutcome) -> None:
    if outcome.error is not None:
        FAILED.labels(job.name).inc()
        alert = "alert=job_failing" if outcome.failures >= ALERT_AFTER else "job_failed"
        level = logging.ERROR if _is_worth_an_error(outcome.failures) else logging.INFO
        log.log(level, "%s job=%s failures=%d error=%r", alert, job.name, outcome.failures, outcome.error)
    elif outcome.result:
        log.info("job_done job=%s result=%s", job.name, outcome.result)


def _is_worth_an_error(failures: int) -> bool:
    """Return True up to the alert, then at each doubling: a job failing each minute must not fill the log."""
    doublings, rest = divmod(failures, ALERT_AFTER)
    return failures <= ALERT_AFTER or (rest == 0 and doublings & (doublings - 1) == 0)


def _text(result: object) -> str | None:
    """Return a job's result as one line; None if there is nothing to report."""
    return str(result)[:_LONGEST_RESULT] if result else None
