"""The system's health, as operators and monitors read it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.schemas.fields import Output
from core.health.results import CheckStatus

_FAILING: dict[str, Any] = {
    "name": "ingest",
    "status": "failing",
    "detail": "16 of 16 shards: It cannot store: DiskFull 53100.",
    "since": "2026-03-01T12:00:00Z",
    "figures": {},
    "parts": [
        {
            "name": "0",
            "status": "failing",
            "detail": "It cannot store: DiskFull 53100.",
            "process": "host:4711",
            "since": "2026-03-01T12:00:00Z",
            "seen_at": "2026-03-01T12:00:40Z",
            "worked_at": "2026-03-01T11:59:58Z",
        }
    ],
}
_WELL: dict[str, Any] = {
    "name": "outbox",
    "status": "ok",
    "detail": "0 rows wait, the oldest for 0 s.",
    "since": "2026-03-01T08:00:00Z",
    "figures": {"rows_waiting": 0, "oldest_s": 0.0, "rows_dead_lettered": 0},
    "parts": [],
}


class StatusPart(Output):
    name: str
    status: CheckStatus
    detail: str
    process: Annotated[str | None, Field(description="`host:pid`")]
    since: Annotated[datetime | None, Field(description="when this state began, by the database's clock")]
    seen_at: Annotated[datetime | None, Field(description="its last heartbeat")]
    worked_at: Annotated[datetime | None, Field(description="when it last stored or published something")]


class StatusCheck(Output):
    """One check. `unknown`: this process cannot tell, because the database or the broker does not answer."""

    name: str
    status: CheckStatus
    detail: str
    since: Annotated[datetime | None, Field(description="when this process first saw this status")]
    figures: Annotated[
        Mapping[str, float | None], Field(description="by name with the unit; null: not known here")
    ]
    parts: Annotated[Sequence[StatusPart], Field(description="shards or processes")]


class StatusReport(Output):
    """All checks. `status` is the worst of theirs, leaving out those that are `unknown`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "failing",
                    "checked_at": "2026-03-01T12:00:42Z",
                    "process": "host:4712",
                    "checks": [_FAILING, _WELL],
                }
            ]
        }
    )

    status: CheckStatus
    checked_at: datetime
    process: Annotated[str, Field(description="the API process that ran the checks")]
    checks: Sequence[StatusCheck]
