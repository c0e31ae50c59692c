"""The results of health checks: a status, a detail for operators, and figures. Pure."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec


class CheckStatus(enum.StrEnum):
    OK = "ok"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    FAILING = "failing"


OK, UNKNOWN, DEGRADED, FAILING = CheckStatus
SEVERITY = tuple(CheckStatus)


class HealthPart(msgspec.Struct, frozen=True):
    """One of the parts that a check covers, with the start of its status and its last heartbeat."""

    name: str
    status: CheckStatus
    detail: str
    process: str | None = None
    since: datetime | None = None
    seen_at: datetime | None = None
    worked_at: datetime | None = None


class HealthCheck(msgspec.Struct, frozen=True):
    """A check's result. ``figures`` are numbers by name, which includes the unit; None is unknown."""

    name: str
    status: CheckStatus
    detail: str
    since: datetime | None = None
    figures: Mapping[str, float | None] = {}
    parts: Sequence[HealthPart] = ()


def overall(checks: Sequence[HealthCheck]) -> CheckStatus:
    """Return the worst status of the checks, ignoring `UNKNOWN`."""
    known = [check.status for check in checks if check.status is not UNKNOWN]
    return max(known, key=SEVERITY.index, default=OK)


def unknown_without_database(name: str) -> HealthCheck:
    return HealthCheck(name, UNKNOWN, "Only the database has this information.")
