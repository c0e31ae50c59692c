"""The health checks: pure functions from a process's view of the system to statuses.

A status that the process cannot know is `UNKNOWN`, never a guess: without the database, every status that is
read from it. `UNKNOWN` does not lower the overall status, because the check of its cause fails already.
"""

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from core.health import seeing
from core.health.heartbeats import PartKind, PartState
from core.health.seeing import DatabaseView, Disk
from core.identities import SHARDS
from core.models.heartbeat import Heartbeat

SILENT_AFTER = timedelta(seconds=20)  # a heartbeat comes every 5 s
OUTBOX_LATE_S = 60.0
OUTBOX_STUCK_S = 300.0
MANY_WAITING = 10_000
LITTLE_ROOM_BYTES = 1024**3
NO_ROOM_BYTES = 128 * 1024**2


class CheckStatus(enum.StrEnum):
    OK = "ok"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    FAILING = "failing"


OK, UNKNOWN, DEGRADED, FAILING = CheckStatus
_SEVERITY = tuple(CheckStatus)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One of the parts that a check covers, with the start of its status and its last heartbeat."""

    name: str
    status: CheckStatus
    detail: str
    process: str | None = None
    since: datetime | None = None
    seen_at: datetime | None = None
    worked_at: datetime | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A check's result. ``figures`` are numbers by name, which includes the unit; None is unknown."""

    name: str
    status: CheckStatus
    detail: str
    since: datetime | None = None
    figures: Mapping[str, float | None] = {}
    parts: Sequence[Part] = ()


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """The broker as one broker user sees it; ``fault`` is why that user is not connected, or None."""

    user_name: str | None
    fault: str | None
    waiting: int | None = None
    dropped: int | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One process's view of the system; ``database`` is a text with the reason if it cannot be read."""

    database: DatabaseView | str
    broker: BrokerView
    disk: Disk | None


def judge(view: View) -> list[Check]:
    """Return the results of all checks, always in the same order."""
    database = view.database if isinstance(view.database, DatabaseView) else None
    return [
        _database(view.database),
        _disk(view.disk),
        _broker(view.broker),
        _queue(view.broker),
        _ingest(database),
        _leader(database),
        _relay(database),
        _outbox(database),
        _api(database),
    ]


def overall(checks: Sequence[Check]) -> CheckStatus:
    """Return the worst status of the checks, ignoring `UNKNOWN`."""
    known = [check.status for check in checks if check.status is not UNKNOWN]
    return max(known, key=_SEVERITY.index, default=OK)


def _database(seen: DatabaseView | str) -> Check:
    if isinstance(seen, str):
        details = {seeing.AWAY: "The database does not answer.", seeing.NOT_MIGRATED: "It is not migrated."}
        return _check("database", FAILING, details.get(seen, seen))
    if seen.write_fault is not None:
        return _check("database", FAILING, f"It answers but cannot store: {seen.write_fault}.")
    return _check("database", OK, "It answers and can store.")


def _disk(disk: Disk | None) -> Check:
    if disk is None:
        return _check("disk", UNKNOWN, "No MILEPOST_DISK_FOLDER can be looked at here.")
    figures = {"free_bytes": disk.free_bytes, "total_bytes": disk.total_bytes}
    detail = f"{_size(disk.free_bytes)} of {_size(disk.total_bytes)} are free."
    status = OK
    if disk.free_bytes < min(LITTLE_ROOM_BYTES, disk.total_bytes // 10):
        status = DEGRADED
    if disk.free_bytes < min(NO_ROOM_BYTES, disk.total_bytes // 50):
        status = FAILING
    return _check("disk", status, detail, figures)


def _broker(seen: BrokerView) -> Check:
    name = f" as {seen.user_name}" if seen.user_name else ""
    if seen.fault is not None:
        return _check("broker", FAILING, f"This process is not on the broker{name}: {seen.fault}.")
    return _check("broker", OK, f"This process is on the broker{name}.")


def _queue(seen: BrokerView) -> Check:
    figures = {"messages_waiting": seen.waiting, "messages_dropped": seen.dropped}
    if seen.fault is not None or seen.waiting is None:
        nothing = dict.fromkeys(figures)
        return _check("queue", UNKNOWN, "The broker has not told this process its figures.", nothing)
    status = DEGRADED if seen.waiting > MANY_WAITING else OK
    return _check("queue", status, f"The broker holds {seen.waiting} messages for clients.", figures)


def _ingest(seen: DatabaseView | None) -> Check:
    if seen is None:
        return _not_known("ingest")
    rows = {row.name: row for row in seen.heartbeats if row.part == PartKind.INGEST}
    parts = [_part(shard, rows.get(shard), seen.at) for shard in SHARDS]
    return _of_parts("ingest", parts, "shards", "Every shard is on the broker and can store.")


def _relay(seen: DatabaseView | None) -> Check:
    if seen is None:
        return _not_known("relay")
    row = next((row for row in seen.heartbeats if row.part == PartKind.RELAY), None)
    return _of_parts("relay", [_part("relay", row, seen.at)], "relays", "The outbox relay is on the broker.")


def _api(seen: DatabaseView | None) -> Check:
    """Return the check of the API processes that are not silent."""
    # Each API process has a new name, so a silent one may have ended for good.
    if seen is None:
        return _not_known("api")
    rows = [row for row in seen.heartbeats if row.part == PartKind.API and row.state != PartState.STOPPED]
    parts = [_part(row.name, row, seen.at) for row in rows if seen.at - row.seen_at <= SILENT_AFTER]
    if not parts:
        return _check("api", FAILING, "No API process has been heard of.")
    return _of_parts("api", parts, "processes", "All processes are on the broker and can store.")


def _leader(seen: DatabaseView | None) -> Check:
    if seen is None:
        return _not_known("leader")
    if seen.leader is None:
        return _check("leader", FAILING, "No jobs process leads: nothing is relayed, sent or run.")
    holder, status = seen.leader.holder, FAILING if seen.leader.is_silent else OK
    part = Part(name="leader", status=status, detail="", process=holder, since=seen.leader.since)
    detail = f"{holder} leads, but does not renew its lease." if seen.leader.is_silent else f"{holder} leads."
    return _check("leader", status, detail, parts=[part])


def _outbox(seen: DatabaseView | None) -> Check:
    if seen is None:
        return _not_known("outbox")
    outbox = seen.outbox
    figures = {
        "rows_waiting": outbox.waiting,
        "oldest_s": round(outbox.oldest_s, 1),
        "rows_dead_lettered": outbox.dead_lettered,
    }
    detail = f"{outbox.waiting} rows wait, the oldest for {outbox.oldest_s:.0f} s."
    status = DEGRADED if outbox.oldest_s > OUTBOX_LATE_S or outbox.dead_lettered else OK
    if outbox.dead_lettered:
        detail += f" {outbox.dead_lettered} are dead-lettered: see `milepost outbox list`."
    if outbox.oldest_s > OUTBOX_STUCK_S:
        status = FAILING
    return _check("outbox", status, detail, figures)


def _part(name: str, row: Heartbeat | None, at: datetime) -> Part:
    if row is None:
        return Part(name=name, status=FAILING, detail="It has never been heard of.")
    status, detail = _judge_heartbeat(row, at)
    since = row.seen_at if at - row.seen_at > SILENT_AFTER else row.since
    return Part(
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
        PartState.STUCK.value: "Its loop does not turn",
    }
    detail = f": {row.detail}" if row.detail else ""
    return FAILING, f"{words.get(row.state, row.state)}{detail}."


def _of_parts(name: str, parts: Sequence[Part], noun: str, well: str) -> Check:
    """Return a check with the status of its worst part and the most common detail of the bad parts."""
    bad = [part for part in parts if part.status is not OK]
    if not bad:
        return _check(name, OK, well, parts=parts)
    said, _number = Counter(_without_numbers(part.detail) for part in bad).most_common(1)[0]
    shown = next(part.detail for part in bad if _without_numbers(part.detail) == said)
    worst = max((part.status for part in bad), key=_SEVERITY.index)
    number = f"{len(bad)} of {len(parts)} {noun}: " if len(parts) > 1 else ""
    since = min((part.since for part in bad if part.since is not None), default=None)
    return _check(name, worst, f"{number}{shown}", parts=sorted(parts, key=attrgetter("name")), since=since)


def _without_numbers(text: str) -> str:
    return "".join(letter for letter in text if not letter.isdigit())


def _not_known(name: str) -> Check:
    return _check(name, UNKNOWN, "Only the database could tell.")


def _check(
    name: str,
    status: CheckStatus,
    detail: str,
    figures: Mapping[str, float | None] | None = None,
    parts: Sequence[Part] = (),
    since: datetime | None = None,
) -> Check:
    return Check(name=name, status=status, detail=detail, figures=figures or {}, parts=parts, since=since)


def _size(number: int) -> str:
    return f"{number / 1024**3:.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:.0f} MiB"
