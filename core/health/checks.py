"""The health checks: pure functions from a process's view of the system to statuses.

A status that the process cannot know is `UNKNOWN`, never a guess: without the database, every status that is
read from it. `UNKNOWN` does not lower the overall status, because the check of its cause fails already.
"""

import msgspec

from core.health import part_checks, seeing
from core.health.results import (
    DEGRADED,
    FAILING,
    OK,
    UNKNOWN,
    HealthCheck,
    HealthPart,
    unknown_without_database,
)
from core.health.seeing import DatabaseView, Disk

OUTBOX_LATE_S = 60.0
OUTBOX_STUCK_S = 300.0
MANY_WAITING = 10_000
LOW_DISK_BYTES = 1024**3
FULL_DISK_BYTES = 128 * 1024**2


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


def judge(view: View) -> list[HealthCheck]:
    """Return the results of all checks, always in the same order."""
    database = view.database if isinstance(view.database, DatabaseView) else None
    return [
        _database(view.database),
        _disk(view.disk),
        _broker(view.broker),
        _queue(view.broker),
        part_checks.check_ingest(database),
        _leader(database),
        part_checks.check_relay(database),
        _outbox(database),
        part_checks.check_api(database),
    ]


def _database(seen: DatabaseView | str) -> HealthCheck:
    if isinstance(seen, str):
        details = {seeing.AWAY: "The database does not answer.", seeing.NOT_MIGRATED: "It is not migrated."}
        return HealthCheck("database", FAILING, details.get(seen, seen))
    if seen.write_fault is not None:
        return HealthCheck("database", FAILING, f"It answers but cannot store: {seen.write_fault}.")
    return HealthCheck("database", OK, "It answers and can store.")


def _disk(disk: Disk | None) -> HealthCheck:
    if disk is None:
        return HealthCheck("disk", UNKNOWN, "MILEPOST_DISK_FOLDER is not set, or cannot be read here.")
    figures = {"free_bytes": disk.free_bytes, "total_bytes": disk.total_bytes}
    detail = f"{_size(disk.free_bytes)} of {_size(disk.total_bytes)} are free."
    status = OK
    if disk.free_bytes < min(LOW_DISK_BYTES, disk.total_bytes // 10):
        status = DEGRADED
    if disk.free_bytes < min(FULL_DISK_BYTES, disk.total_bytes // 50):
        status = FAILING
    return HealthCheck("disk", status, detail, figures=figures)


def _broker(seen: BrokerView) -> HealthCheck:
    name = f" as {seen.user_name}" if seen.user_name else ""
    if seen.fault is not None:
        return HealthCheck("broker", FAILING, f"This process is not on the broker{name}: {seen.fault}.")
    return HealthCheck("broker", OK, f"This process is on the broker{name}.")


def _queue(seen: BrokerView) -> HealthCheck:
    figures = {"messages_waiting": seen.waiting, "messages_dropped": seen.dropped}
    if seen.fault is not None or seen.waiting is None:
        nothing = dict.fromkeys(figures)
        return HealthCheck(
            "queue", UNKNOWN, "The broker has not sent its figures to this process.", figures=nothing
        )
    status = DEGRADED if seen.waiting > MANY_WAITING else OK
    return HealthCheck(
        "queue", status, f"The broker holds {seen.waiting} messages for clients.", figures=figures
    )


def _leader(seen: DatabaseView | None) -> HealthCheck:
    if seen is None:
        return unknown_without_database("leader")
    if seen.leader is None:
        return HealthCheck("leader", FAILING, "No jobs process leads: nothing is relayed, sent or run.")
    holder, status = seen.leader.holder, FAILING if seen.leader.is_silent else OK
    part = HealthPart(name="leader", status=status, detail="", process=holder, since=seen.leader.since)
    detail = f"{holder} leads, but does not renew its lease." if seen.leader.is_silent else f"{holder} leads."
    return HealthCheck("leader", status, detail, parts=[part])


def _outbox(seen: DatabaseView | None) -> HealthCheck:
    if seen is None:
        return unknown_without_database("outbox")
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
    return HealthCheck("outbox", status, detail, figures=figures)


def _size(number: int) -> str:
    return f"{number / 1024**3:.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:.0f} MiB"
