"""Nightly work: done once per company and local day, some hours after the day has ended.

A night is claimed in the transaction that does its work: concurrent workers do it only once, and it is due
again if it fails. Nights are independent: one that always fails does not delay the others.
"""

import zlib
from collections import defaultdict
from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import locks
from core.database.locks import LockClass
from core.models.company import Company
from core.models.job import NightlyRun
from core.rules.times.time_zones import CAUGHT_UP_DAYS, day_bounds, day_of, last_day_over, missing_days

KEPT = timedelta(days=60)


class Night(msgspec.Struct, frozen=True):
    """One local day of a company that has ended: ``starts_at`` inclusive, ``ends_at`` exclusive."""

    company_id: int
    company: str
    time_zone: str
    day: date
    starts_at: datetime
    ends_at: datetime


def due(session: Session, work: str, hour: int, now: datetime) -> list[Night]:
    """Return the nights for which ``work`` is due, oldest first.

    A night is due once it is ``hour`` o'clock, in the company's time zone, after the day. A company for which
    ``work`` was never done begins with the last night, if the company existed then.
    """
    since = (now - timedelta(days=CAUGHT_UP_DAYS + 3)).date()
    done: defaultdict[int, set[date]] = defaultdict(set)
    for company_id, day in session.execute(
        select(NightlyRun.company_id, NightlyRun.day).where(NightlyRun.work == work, NightlyRun.day >= since)
    ):
        done[company_id].add(day)
    nights = []
    for company in session.execute(
        select(Company.id, Company.slug, Company.time_zone, Company.created_at).order_by(Company.id)
    ):
        zone = company.time_zone
        last, first = last_day_over(now, zone, hour), day_of(company.created_at, zone)
        nights += [
            Night(company.id, company.slug, zone, day, *day_bounds(day, zone))
            for day in missing_days(last, first, done[company.id])
        ]
    return sorted(nights, key=lambda night: (night.day, night.company_id))


def claim(session: Session, work: str, night: Night, now: datetime) -> bool:
    """Claim a night in this transaction, whose commit marks it as done; return whether that succeeded.

    Return False without waiting if it is done, or if another transaction is doing it.
    """
    lock = LockClass.NIGHT + zlib.crc32(work.encode())
    if not session.scalar(locks.TRY_PAIR_IN_TRANSACTION, {"lock": lock, "item": night.company_id}):
        return False
    taken = session.execute(
        insert(NightlyRun)
        .values(company_id=night.company_id, work=work, day=night.day, done_at=now)
        .on_conflict_do_nothing()
        .returning(NightlyRun.day)
    )
    return taken.first() is not None


def purge_old_runs(session: Session, now: datetime) -> int:
    """Purge the rows of nights older than `KEPT`; return how many."""
    gone = session.execute(delete(NightlyRun).where(NightlyRun.day < (now - KEPT).date()))
    return gone.rowcount  # type: ignore[attr-defined, no-any-return]
