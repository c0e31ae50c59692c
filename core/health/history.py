"""The history of each check: the time of its last change, and the alerts logged on changes.

Trouble shorter than `ALERT_AFTER` (a restart) is shown but not logged. `UNKNOWN` neither begins nor ends
trouble.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from core.health.results import CheckStatus, HealthCheck
from core.logs import LoggedStates

ALERT_AFTER = timedelta(seconds=10)

log = logging.getLogger(__name__)


class History:
    """The history as seen by one process; those of other processes may differ."""

    def __init__(self) -> None:
        self._changes: dict[str, tuple[CheckStatus, datetime]] = {}
        self._trouble = LoggedStates(after_s=ALERT_AFTER.total_seconds())

    def note(self, checks: Sequence[HealthCheck], now: datetime) -> list[HealthCheck]:
        """Return the checks with ``since``, and log an alert for each that has begun or ended."""
        return [self._note(check, now) for check in checks]

    def _note(self, check: HealthCheck, now: datetime) -> HealthCheck:
        status, since = self._changes.get(check.name, (None, now))
        if status is not check.status:
            since = now
        self._changes[check.name] = check.status, since
        self._alert(check, now)
        return msgspec.structs.replace(check, since=since)

    def _alert(self, check: HealthCheck, now: datetime) -> None:
        name, status, at = check.name, check.status, now.timestamp()
        if status is CheckStatus.UNKNOWN:
            return
        if status is CheckStatus.OK:
            if (lasted_s := self._trouble.end(name, at)) is not None:
                log.warning("alert=status check=%s status=ok lasted_s=%.0f", name, lasted_s)
            return
        # A failing check that becomes only degraded is no news.
        was_failing = self._trouble.logged_reason(name) == CheckStatus.FAILING
        reason = CheckStatus.FAILING if was_failing else status
        if self._trouble.begin(name, reason, at) is not None:
            log.error("alert=status check=%s status=%s detail=%r", name, status.value, check.detail)
