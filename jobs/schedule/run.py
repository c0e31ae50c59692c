"""One run of one job: what it does, and what is written down about it.

A job is a body: a function of a `Run`. Most are made here of a function of a session and the time:
`once` (one transaction), `drained` (one after the other while there is something left) or `Nightly` (one for
each company and night). Two leaders may run the same job at once: its work must be idempotent, or claim its
rows with ``FOR UPDATE SKIP LOCKED``.
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
    """What a body works with. Between two transactions it looks at ``stop``, and leaves the rest."""

    job: str
    sessions: sessionmaker[Session]
    stop: threading.Event


Work = Callable[[Session, datetime], object]
Body = Callable[[Run], object]


@dataclass(frozen=True)
class Job:
    """``does`` is one line for operators; what ``body`` returns is shown as its result."""

    name: str
    does: str
    every: timedelta
    body: Body


@dataclass(frozen=True)
class RunOutcome:
    """``failures`` in a row, this one included; 0: it succeeded."""

    result: str | None
    error: str | None
    failures: int


def once(work: Work) -> Body:
    """In one transaction."""

    def body(run: Run) -> object:
        with run.sessions.begin() as session:
            return work(session, datetime.now(UTC))

    return body


def drained(work: Callable[[Session, datetime], int]) -> Body:
    """A transaction a batch, until one finds nothing; gives how many there were."""

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
    """For each company and local day, once, when it is ``hour`` o'clock there on the day after.

    Each in a transaction of its own; those that fail are due again at the job's next run. The work may not
    hold its transaction idle for a minute: PostgreSQL would end it.
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
        """What went wrong, if anything did."""
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
    """One run, written down before and after. Never raises: there is nobody above to tell."""
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
    """How many in a row have failed; without the database, whose absence is an error already, one."""
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
    """Until it is an alert, and then at each doubling: what fails every minute must not fill the log."""
    doublings, rest = divmod(failures, ALERT_AFTER)
    return failures <= ALERT_AFTER or (rest == 0 and doublings & (doublings - 1) == 0)


def _text(result: object) -> str | None:
    """What a job did, in a line; None: nothing worth telling."""
    return str(result)[:_LONGEST_RESULT] if result else None
