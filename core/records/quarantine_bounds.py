"""Bounds on the quarantine, in rows and in bytes per hour, for each device and each company.

Invariant: the counts are in the database and change under their row locks, in the transaction that stores the
messages. The bounds therefore hold across workers and restarts. Messages beyond a bound are counted; only the
first bytes of the last one are kept.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.record import QuarantineCount

MAXIMUM_RAW_BYTES = 64 * 1024  # of one message; an array of 500 fixes fits
LAST_BYTES = 2_000  # of the last message that is beyond a bound
# (company, device). A device of None is the whole company; a company of None means an unknown device.
CountKey = tuple[int | None, str | None]
_WRITE = text(
    "UPDATE quarantine_count c SET kept_rows = n.kept_rows, kept_bytes = n.kept_bytes,"
    " not_kept_rows = n.not_kept_rows, not_kept_bytes = n.not_kept_bytes, last_id = n.last_id"
    " FROM unnest(CAST(:id AS bigint[]), CAST(:kept_rows AS int[]), CAST(:kept_bytes AS bigint[]),"
    " CAST(:not_kept_rows AS bigint[]), CAST(:not_kept_bytes AS bigint[]), CAST(:last_id AS bigint[]))"
    " AS n(id, kept_rows, kept_bytes, not_kept_rows, not_kept_bytes, last_id) WHERE c.id = n.id"
)
_WRITTEN = ("id", "kept_rows", "kept_bytes", "not_kept_rows", "not_kept_bytes", "last_id")
log = logging.getLogger(__name__)


class HourBound(msgspec.Struct, frozen=True):
    """The most that is kept per hour."""

    rows: int
    raw_bytes: int


DEVICE = HourBound(rows=100, raw_bytes=256 * 1024)
COMPANY = HourBound(rows=2_000, raw_bytes=2 * 1024 * 1024)


class RefusedMessage(Protocol):
    @property
    def company_id(self) -> int | None: ...
    @property
    def device_id(self) -> str | None: ...
    @property
    def raw(self) -> bytes: ...


Kept = TypeVar("Kept", bound=RefusedMessage)


class HourCount(msgspec.Struct):
    """A locked row of `QuarantineCount`. ``has_last``: its last message has or will get a row."""

    id: int
    bound: HourBound
    kept_rows: int
    kept_bytes: int
    not_kept_rows: int
    not_kept_bytes: int
    last_id: int | None
    has_last: bool
    has_just_filled: bool = False

    def fits(self, size: int) -> bool:
        return self.kept_rows < self.bound.rows and self.kept_bytes + size <= self.bound.raw_bytes

    def add(self, size: int) -> None:
        self.kept_rows += 1
        self.kept_bytes += size

    def count_only(self, size: int, *, is_full: bool) -> None:
        """Count a message that is not kept; ``is_full`` is True if it exceeds this bound."""
        self.has_just_filled |= is_full and self.not_kept_rows == 0
        self.not_kept_rows += 1
        self.not_kept_bytes += size


class Allotted(msgspec.Struct, Generic[Kept], frozen=True):
    """The messages to keep, and in ``last`` the newest message beyond each bound."""

    kept: list[Kept]
    last: dict[CountKey, Kept]


def company_of(key: CountKey) -> CountKey:
    return key[0], None


def allot(counts: Mapping[CountKey, HourCount], messages: Iterable[Kept]) -> Allotted[Kept]:
    """Decide which messages to keep, and update ``counts`` with all of them. No I/O."""
    allotted: Allotted[Kept] = Allotted([], {})
    for message in messages:
        key = (message.company_id, message.device_id or "")
        device, company = counts[key], counts[company_of(key)]
        size = min(len(message.raw), MAXIMUM_RAW_BYTES)
        if device.fits(size) and company.fits(size):
            device.add(size)
            company.add(size)
            allotted.kept.append(message)
            continue
        if device.fits(size):
            company.count_only(len(message.raw), is_full=True)
            device.count_only(len(message.raw), is_full=False)
        else:
            device.count_only(len(message.raw), is_full=True)
        holder = key if _may_hold_last(device, company) else company_of(key)
        counts[holder].has_last = True
        allotted.last[holder] = message
    return allotted


def _may_hold_last(device: HourCount, company: HourCount) -> bool:
    """Return whether the device may keep its own last message, reserving space of its company for it."""
    # If the company's bound is reached, its devices share one row for the last message.
    if device.has_last:
        return True
    if not company.fits(LAST_BYTES):
        return False
    company.add(LAST_BYTES)
    return True


def lock(session: Session, messages: Iterable[RefusedMessage], now: datetime) -> dict[CountKey, HourCount]:
    """Lock and return this hour's counts of the messages' devices and companies.

    The rows are locked in one fixed order, so that two workers cannot deadlock.
    """
    devices: set[CountKey] = {(message.company_id, message.device_id or "") for message in messages}
    keys = sorted(devices | {company_of(key) for key in devices}, key=_order)
    hour = now.replace(minute=0, second=0, microsecond=0)
    table = QuarantineCount
    statement = insert(table).values([_fresh(key, hour) for key in keys])
    # DO NOTHING would neither lock nor return existing rows.
    statement = statement.on_conflict_do_update(
        index_elements=["company_id", "hour", "device_id"], set_={"hour": statement.excluded.hour}
    )
    rows = session.execute(
        statement.returning(
            table.company_id,
            table.device_id,
            table.id,
            table.kept_rows,
            table.kept_bytes,
            table.not_kept_rows,
            table.not_kept_bytes,
            table.last_id,
        )
    ).all()
    return {(row.company_id, row.device_id): _count(row) for row in rows}


def _count(row: Any) -> HourCount:
    return HourCount(
        id=row.id,
        bound=COMPANY if row.device_id is None else DEVICE,
        kept_rows=row.kept_rows,
        kept_bytes=row.kept_bytes,
        not_kept_rows=row.not_kept_rows,
        not_kept_bytes=row.not_kept_bytes,
        last_id=row.last_id,
        has_last=row.last_id is not None,
    )


def _order(key: CountKey) -> tuple[bool, int, bool, str]:
    company_id, device_id = key
    return company_id is not None, company_id or 0, device_id is not None, device_id or ""


def _fresh(key: CountKey, hour: datetime) -> dict[str, Any]:
    return {
        "company_id": key[0],
        "device_id": key[1],
        "hour": hour,
        "kept_rows": 0,
        "kept_bytes": 0,
        "not_kept_rows": 0,
        "not_kept_bytes": 0,
    }


def write(session: Session, counts: Mapping[CountKey, HourCount]) -> None:
    """Write the counts back; after the commit, log each bound exceeded for the first time this hour."""
    values = {name: [getattr(count, name) for count in counts.values()] for name in _WRITTEN}
    session.execute(_WRITE, values)
    full = [key for key, count in counts.items() if count.has_just_filled]
    if full:
        # Ingest uses one session per transaction, so that a transaction that is rolled back logs no alert.
        event.listen(session, "after_commit", lambda _session: _alert(full), once=True)


def _alert(full: Sequence[CountKey]) -> None:
    for company_id, device_id in full:
        log.error(
            "alert=quarantine_full company=%s device=%s",
            "unknown" if company_id is None else company_id,
            "all" if device_id is None else device_id or "unknown",
        )
