"""How each job fares: its last run, its next, its last error. The caller commits."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from traceback import walk_tb

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.database.errors import sqlstate
from core.errors import DomainError
from core.models.job import JobState

FIRST_RETRY = timedelta(seconds=15)
LONGEST_TEXT = 300
PROJECT = Path(__file__).parents[2]
_MOST_DOUBLINGS = 16
_EVERYBODYS_WAY = {Path("core/database/deadlines.py"), Path("core/database/engine.py")}


class JobFailed(Exception):
    """Raised by a job that knows what went wrong. Shown as it is: no secret, no value of a row."""


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
    """Write down a run's end; gives how many in a row have failed by now.

    None: another process has begun the job meanwhile (ours was frozen, or run by hand), and its run counts.
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
    """When the leader, who ran it last, will run it next."""
    ours = update(JobState).where(JobState.name == name, JobState.ran_by == ran_by)
    session.execute(ours.values(next_run_at=next_run_at))


def read(session: Session) -> Mapping[str, JobState]:
    """By name; a job that never ran is missing, one that is no more may still be there."""
    return {state.name: state for state in session.scalars(select(JobState))}


def retry_after(failures: int, every: timedelta) -> timedelta:
    """How long after its nth failure in a row a job runs again: doubling, but never later than it would."""
    return min(every, FIRST_RETRY * (1 << min(failures - 1, _MOST_DOUBLINGS)))


def describe(error: BaseException) -> str:
    """One line for people: what and where, but nothing that a row, a message or a secret may have put in."""
    return f"{_what(error)} at {where(error)}"[:LONGEST_TEXT]


def where(error: BaseException) -> str:
    """The place in our own code nearest to the fault, as ``core/accounts/throttle.py:42``."""
    files = [(Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
    ours = [(path.relative_to(PROJECT), line) for path, line in files if _is_ours(path)]
    told = [f"{path}:{line}" for path, line in ours if path not in _EVERYBODYS_WAY]
    return told[-1] if told else "no place of ours"


def _is_ours(path: Path) -> bool:
    """A virtual environment may lie inside the project."""
    return path.is_relative_to(PROJECT) and "site-packages" not in path.parts


def _what(error: BaseException) -> str:
    if isinstance(error, JobFailed):
        return " ".join(str(error).split())
    if isinstance(error, DomainError):
        return error.title
    if isinstance(error, DBAPIError):
        return f"{type(error.orig).__name__} {sqlstate(error)}".rstrip()
    return type(error).__name__
