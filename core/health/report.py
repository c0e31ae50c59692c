"""The system's health report, for both `GET /status/` and `milepost status`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from core.health import results
from core.health.results import CheckStatus, HealthCheck


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """The checks as seen by ``process`` at ``checked_at``; ``status`` is the worst of them."""

    status: CheckStatus
    checked_at: datetime
    process: str
    checks: Sequence[HealthCheck]

    @classmethod
    def of(cls, found: Sequence[HealthCheck], process: str, now: datetime) -> "HealthReport":
        return cls(status=results.overall(found), checked_at=now, process=process, checks=found)


def as_json(report: HealthReport) -> str:
    return msgspec.json.format(msgspec.json.encode(report)).decode()


def as_text(report: HealthReport) -> str:
    """Return a text table: a line per check, and a line per bad part of a check that has good parts too."""
    lines = [f"The system is {report.status}.", ""]
    for check in report.checks:
        lines.append(f"{check.name:<9} {check.status:<9} {check.detail}")
        bad = [part for part in check.parts if part.status is not CheckStatus.OK]
        if len(bad) < len(check.parts):
            lines += [f"{'':<9} {part.name:>9} {part.detail}" for part in bad]
    return "\n".join(lines)
