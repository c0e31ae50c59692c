"""The state of each job: its last run, next run and last error. The caller commits."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from traceback import walk_tb

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database.errors import class_and_sqlstate
from core.errors import DomainError
from core.models.job import JobState

FIRST_RETRY = timedelta(seconds=15)
LONGEST_TEXT = 300
PROJECT = Path(__file__).parents[2]
_MOST_DOUBLINGS = 16


class JobFailed(Exception):
    """Raised by a job with its own explanation.

    The message is shown to users, so it must contain no secret and no value of a row.
    """


def started(session: Session, name: str, ran_by: str, now: datetime) -> None:
    begun = {"last_started_at": now, "ran_by": ran_by}
    session.execute(
        insert(JobState)
        .values(name=name, **begun)
        .on_conflict_do_update(index_elements=[JobState.name], set_=begun)
    )


def ended(
    session: Session,
    name: str,
    ran_by: str,
    now: datetime,
    *,
    duration_s: float,
    result: str | None,
    error: str | None,
) -> int | None:
    """Store the end of a run; return the number of consecutive failures.

    Return None if another process has started the job since (this one was frozen, or the job was run by
    hand); that process's run counts then.
    """
    failed = error is not None
    query = (
        update(JobState)
        .where(JobState.name == name, JobState.ran_by == ran_by)
        .values(
            last_ended_at=now,
            last_duration_s=duration_s,
            last_result=result,
            last_error=error,
            last_succeeded_at=JobState.last_succeeded_at if failed else now,
            consecutive_failures=JobState.consecutive_failures + 1 if failed else 0,
        )
        .returning(JobState.consecutive_failures)
    )
    failures: int | None = session.scalar(query)
    return failures


def planned(session: Session, name: str, ran_by: str, next_run_at: datetime | None) -> None:
    """Store when the leader will next run a job that this process ran last."""
    ours = update(JobState).where(JobState.name == name, JobState.ran_by == ran_by)
    session.execute(ours.values(next_run_at=next_run_at))


def read(session: Session) -> Mapping[str, JobState]:
    """Return the states by job name: none for a job that never ran, perhaps some for removed jobs."""
    return {state.name: state for state in session.scalars(select(JobState))}


def retry_after(failures: int, every: timedelta) -> timedelta:
    """Return the delay before the next run after ``failures`` in a row: it doubles, up to ``every``."""
    return min(every, FIRST_RETRY * (1 << min(failures - 1, _MOST_DOUBLINGS)))


def describe(error: BaseException) -> str:
    """Return one line for users: the kind of the error and its place in our code."""
    # Not the message of the error, which may contain a row's values or a secret.
    return f"{_what(error)} at {where(error)}"[:LONGEST_TEXT]


def where(error: BaseException) -> str:
    """Return the innermost line of our own code in the traceback, as ``core/accounts/throttle.py:42``.

    Modules with ``IS_IN_EVERY_TRACEBACK`` are passed over: their caller's line says more.
    """
    places = [
        f"{path.relative_to(PROJECT)}:{line}"
        for frame, line in walk_tb(error.__traceback__)
        if _is_ours(path := Path(frame.f_code.co_filename)) and "IS_IN_EVERY_TRACEBACK" not in frame.f_globals
    ]
    return places[-1] if places else "no place of ours"


def _is_ours(path: Path) -> bool:
    """Return whether a file is part of the project."""
    # A virtual environment may be inside the project's folder.
    return path.is_relative_to(PROJECT) and "site-packages" not in path.parts


def _what(error: BaseException) -> str:
    if isinstance(error, JobFailed):
        return " ".join(str(error).split())
    if isinstance(error, DomainError):
        return error.title
    return class_and_sqlstate(error)
