"""The history of each check: the time of its last change, and the alerts logged on changes.

Trouble shorter than `ALERT_AFTER` (a restart) is shown but not logged. `UNKNOWN` neither begins nor ends
trouble.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from core.health.results import CheckStatus, HealthCheck

ALERT_AFTER = timedelta(seconds=10)

log = logging.getLogger(__name__)


@dataclass
class _Course:
    """One check's history. ``trouble_since`` is None while OK; ``logged`` is the worst status logged."""

    status: CheckStatus
    since: datetime
    trouble_since: datetime | None = None
    logged: CheckStatus | None = None


class History:
    """The history as seen by one process; those of other processes may differ."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def note(self, checks: Sequence[HealthCheck], now: datetime) -> list[HealthCheck]:
        """Return the checks with ``since``, and log an alert for each that has begun or ended."""
        return [self._note(check, now) for check in checks]

    def _note(self, check: HealthCheck, now: datetime) -> HealthCheck:
        course = self._courses.setdefault(check.name, _Course(check.status, now))
        if course.status is not check.status:
            course.status, course.since = check.status, now
        _alert(course, check, now)
        return msgspec.structs.replace(check, since=course.since)


def _alert(course: _Course, check: HealthCheck, now: datetime) -> None:
    if check.status is CheckStatus.UNKNOWN:
        return
    if check.status is CheckStatus.OK:
        if course.logged is not None and course.trouble_since is not None:
            lasted_s = (now - course.trouble_since).total_seconds()
            log.warning("alert=status check=%s status=ok lasted_s=%.0f", check.name, lasted_s)
        course.trouble_since = course.logged = None
        return
    course.trouble_since = course.trouble_since or now
    is_worse = course.logged is not CheckStatus.FAILING and course.logged is not check.status
    if is_worse and now - course.trouble_since >= ALERT_AFTER:
        log.error("alert=status check=%s status=%s detail=%r", check.name, check.status.value, check.detail)
        course.logged = check.status
