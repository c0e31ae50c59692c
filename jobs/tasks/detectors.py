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
    return _detect_and_record(run, late_deliveries.find_without_event, late_deliveries.record_events)


def arriving_soon(run: JobRun) -> int:
    return _detect_and_record(run, near_arrivals.find_without_event, near_arrivals.record_events)


def silent(run: JobRun) -> int:
    return _detect_and_record(
        run,
        lambda session, now: list(silent_devices.find_without_event(session, now).items()),
        lambda session, found, now: silent_devices.record_events(session, dict(found), now),
    )


def _detect_and_record(
    run: JobRun,
    find: Callable[[Session, datetime], list[Found]],
    record: Callable[[Session, Sequence[Found], datetime], int],
) -> int:
    """Detect, then notify in batches; return the number of notifications."""
    now = datetime.now(UTC)
    with run.sessions() as session:
        found = find(session, now)
    recorded = 0
    for first in range(0, len(found), BATCH):
        if run.stop.is_set():
            break
        with run.sessions.begin() as session:
            recorded += record(session, found[first : first + BATCH], datetime.now(UTC))
    return recorded
