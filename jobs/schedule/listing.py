"""The table of jobs for operators: `milepost jobs list`."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.orm import Session

from core.health import leader
from core.health.leader import Leader
from core.models.job import JobState
from core.nightly import job_states
from jobs.schedule.run import Job, Nightly
from jobs.schedule.table import JOBS


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One job. ``state`` is never_ran, running, ok or failing; ``night_hour`` is in local time."""

    name: str
    does: str
    every_s: float
    night_hour: int | None
    state: str
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    last_succeeded_at: datetime | None = None
    next_run_at: datetime | None = None
    last_duration_s: float | None = None
    last_result: str | None = None
    last_error: str | None = None
    consecutive_failures: int = 0
    ran_by: str | None = None


class JobListing(msgspec.Struct, frozen=True, kw_only=True):
    """``leading_since`` is None while no process leads: no job runs then, and the next runs are overdue."""

    leading_since: datetime | None
    leader: Leader | None = None
    jobs: list[Line]


def read(session: Session) -> JobListing:
    states = job_states.read(session)
    found = leader.read(session)
    lines = [_line(job, states.get(job.name)) for job in JOBS]
    return JobListing(leading_since=found.since if found else None, leader=found, jobs=lines)


def as_json(listing: JobListing) -> str:
    return msgspec.json.format(msgspec.json.encode(listing)).decode()


def as_text(listing: JobListing, now: datetime) -> str:
    head = ("NAME", "EVERY", "LAST RUN", "TOOK", "NEXT RUN", "RESULT")
    rows = [head, *(_row(line, now) for line in listing.jobs)]
    return f"{_leader(listing.leader)}\n\n{_columns(rows)}"


def _line(job: Job, state: JobState | None) -> Line:
    hour = job.body.hour if isinstance(job.body, Nightly) else None
    every_s = job.every.total_seconds()
    if state is None:
        return Line(name=job.name, does=job.does, every_s=every_s, night_hour=hour, state="never_ran")
    return Line(
        name=job.name,
        does=job.does,
        every_s=every_s,
        night_hour=hour,
        state=_state(state),
        last_started_at=state.last_started_at,
        last_ended_at=state.last_ended_at,
        last_succeeded_at=state.last_succeeded_at,
        next_run_at=state.next_run_at,
        last_duration_s=state.last_duration_s,
        last_result=state.last_result,
        last_error=state.last_error,
        consecutive_failures=state.consecutive_failures,
        ran_by=state.ran_by,
    )


def _state(state: JobState) -> str:
    if state.last_ended_at is None or state.last_ended_at < state.last_started_at:
        return "running"
    return "failing" if state.consecutive_failures else "ok"


def _leader(found: Leader | None) -> str:
    if found is None:
        return "No jobs process leads: nothing is run. Start one: milepost jobs"
    if found.is_silent:
        since = "ever" if found.silent_s is None else _span(timedelta(seconds=found.silent_s))
        return (
            f"The leader ({found.holder}) has not renewed its lease for {since}: it hangs, is frozen or does"
            " not reach the database. A standby takes over, if there is one."
        )
    return f"A jobs process has led for {_span(found.led_for or timedelta(0))} ({found.holder})"


def _row(line: Line, now: datetime) -> tuple[str, ...]:
    started = "never" if line.last_started_at is None else f"{_span(now - line.last_started_at)} ago"
    took = "" if line.last_duration_s is None else f"{line.last_duration_s:.2f} s"
    return line.name, _every(line), started, took, _next(line, now), _result(line)


def _every(line: Line) -> str:
    if line.night_hour is not None:
        return f"night, {line.night_hour:02}:00 local"
    return _span(timedelta(seconds=line.every_s))


def _result(line: Line) -> str:
    match line.state:
        case "failing":
            return f"FAILED {line.consecutive_failures} x: {line.last_error}"
        case "ok":
            return line.last_result or "ok"
    return line.state.replace("_", " ")


def _next(line: Line, now: datetime) -> str:
    if line.next_run_at is None:
        return ""
    left = line.next_run_at - now
    return f"in {_span(left)}" if left > timedelta(0) else f"{_span(-left)} overdue"


def _span(span: timedelta) -> str:
    """Format a span in the largest unit that it fills at least twice, or in seconds."""
    seconds = max(0, round(span.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length or (seconds == length and length > 1):
            return f"{round(seconds / length)} {unit}"
    return f"{seconds} s"


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )
