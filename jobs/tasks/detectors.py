"""Detect conditions that no client reports: late deliveries, near arrivals, silent devices.

Each detector reads without locks, then notifies in small batches, so that ingest never waits long for a row.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from core.detectors import late_deliveries, near_arrivals, silent_devices
from jobs.schedule.run import JobRun

BATCH = 20
Found = TypeVar("Found")


def late(run: JobRun) -> int:
    return _look_and_tell(run, late_deliveries.untold, late_deliveries.tell)


def arriving_soon(run: JobRun) -> int:
    return _look_and_tell(run, near_arrivals.untold, near_arrivals.tell)


def silent(run: JobRun) -> int:
    return _look_and_tell(
        run,
        lambda session, now: list(silent_devices.untold(session, now).items()),
        lambda session, found, now: silent_devices.tell(session, dict(found), now),
    )


def _look_and_tell(
    run: JobRun,
    look: Callable[[Session, datetime], list[Found]],
    tell: Callable[[Session, Sequence[Found], datetime], int],
) -> int:
    """Detect, then notify in batches; return the number of notifications."""
    now = datetime.now(UTC)
    with run.sessions() as session:
        found = look(session, now)
    told = 0
    for first in range(0, len(found), BATCH):
        if run.stop.is_set():
            break
        with run.sessions.begin() as session:
            told += tell(session, found[first : first + BATCH], datetime.now(UTC))
    return told
