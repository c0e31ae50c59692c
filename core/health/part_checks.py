"""The health checks of the parts that send heartbeats: ingest shards, outbox relay, API processes. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter

from core.health.heartbeats import PartKind, PartState
from core.health.results import (
    DEGRADED,
    FAILING,
    OK,
    SEVERITY,
    CheckStatus,
    HealthCheck,
    HealthPart,
    unknown_without_database,
)
from core.health.seeing import DatabaseView
from core.identities import SHARDS
from core.models.heartbeat import Heartbeat

SILENT_AFTER = timedelta(seconds=20)  # a heartbeat comes every 5 s


def check_ingest(seen: DatabaseView | None) -> HealthCheck:
    if seen is None:
        return unknown_without_database("ingest")
    rows = {row.name: row for row in seen.heartbeats if row.part == PartKind.INGEST}
    parts = [_part(shard, rows.get(shard), seen.at) for shard in SHARDS]
    return _of_parts("ingest", parts, "shards", "Every shard is on the broker and can store.")


def check_relay(seen: DatabaseView | None) -> HealthCheck:
    if seen is None:
        return unknown_without_database("relay")
    row = next((row for row in seen.heartbeats if row.part == PartKind.RELAY), None)
    return _of_parts("relay", [_part("relay", row, seen.at)], "relays", "The outbox relay is on the broker.")


def check_api(seen: DatabaseView | None) -> HealthCheck:
    """Return the check of the API processes that are not silent."""
    # Each API process has a new name, so a silent one may have ended for good.
    if seen is None:
        return unknown_without_database("api")
    rows = [row for row in seen.heartbeats if row.part == PartKind.API and row.state != PartState.STOPPED]
    parts = [_part(row.name, row, seen.at) for row in rows if seen.at - row.seen_at <= SILENT_AFTER]
    if not parts:
        return HealthCheck("api", FAILING, "No API process has reported.")
    return _of_parts("api", parts, "processes", "All processes are on the broker and can store.")


def _part(name: str, row: Heartbeat | None, at: datetime) -> HealthPart:
    if row is None:
        return HealthPart(name=name, status=FAILING, detail="It has never reported.")
    status, detail = _judge_heartbeat(row, at)
    since = row.seen_at if at - row.seen_at > SILENT_AFTER else row.since
    return HealthPart(
        name=name,
        status=status,
        detail=detail,
        process=row.process,
        since=since,
        seen_at=row.seen_at,
        worked_at=row.worked_at,
    )


def _judge_heartbeat(row: Heartbeat, at: datetime) -> tuple[CheckStatus, str]:
    if row.state == PartState.STOPPED:
        return FAILING, "It was stopped."
    if at - row.seen_at > SILENT_AFTER:
        return FAILING, f"It has been silent for {(at - row.seen_at).total_seconds():.0f} s."
    if row.state == PartState.OK:
        return OK, ""
    if row.state == PartState.IMPAIRED:
        return DEGRADED, f"It works, but {row.detail}."
    words = {
        PartState.CANNOT_STORE.value: "It cannot store",
        PartState.OFF_BROKER.value: "It is not on the broker",
        PartState.STUCK.value: "Its loop does not run",
    }
    detail = f": {row.detail}" if row.detail else ""
    return FAILING, f"{words.get(row.state, row.state)}{detail}."


def _of_parts(name: str, parts: Sequence[HealthPart], noun: str, well: str) -> HealthCheck:
    """Return a check with the status of its worst part and the most common detail of the bad parts."""
    bad = [part for part in parts if part.status is not OK]
    if not bad:
        return HealthCheck(name, OK, well, parts=parts)
    common, _count = Counter(_without_numbers(part.detail) for part in bad).most_common(1)[0]
    shown = next(part.detail for part in bad if _without_numbers(part.detail) == common)
    worst = max((part.status for part in bad), key=SEVERITY.index)
    number = f"{len(bad)} of {len(parts)} {noun}: " if len(parts) > 1 else ""
    since = min((part.since for part in bad if part.since is not None), default=None)
    return HealthCheck(
        name, worst, f"{number}{shown}", parts=sorted(parts, key=attrgetter("name")), since=since
    )


def _without_numbers(text: str) -> str:
    return "".join(character for character in text if not character.isdigit())
