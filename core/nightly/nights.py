"""Nightly work: done once per company and local day, some hours after the day has ended.

A night is claimed in the transaction that does its work: concurrent workers do it only once, and it is due
again if it fails. Nights are independent: one that always fails does not delay the others.
"""

import zlib
from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.company import Company
from core.models.job import NightlyRun
from core.rules.times import local_days

CAUGHT_UP_DAYS = 7  # nights older than this, after a long downtime or many failures, are skipped
KEPT = timedelta(days=60)


class Night(msgspec.Struct, frozen=True, kw_only=True):
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
    done = _done(session, work, (now - timedelta(days=CAUGHT_UP_DAYS + 3)).date())
    companies = session.execute(
        select(Company.id, Company.slug, Company.time_zone, Company.created_at).order_by(Company.id)
    )
    nights = [
        _night(company_id, slug, zone, day)
        for company_id, slug, zone, created_at in companies
        for day in missing_days(
            local_days.last_over(now, zone, hour), local_days.of(created_at, zone), done[company_id]
        )
    ]
    return sorted(nights, key=lambda night: (night.day, night.company_id))


def missing_days(last: date, since: date, done: Collection[date]) -> list[date]:
    """Return the days up to ``last`` that are not done.

    They begin at the first day that is done, but not before ``since``, and span at most `CAUGHT_UP_DAYS`.
    """
    oldest = max(last - timedelta(days=CAUGHT_UP_DAYS - 1), min(done, default=last), since)
    days = [oldest + timedelta(days=number) for number in range((last - oldest).days + 1)]
    return [day for day in days if day not in done]


def claim(session: Session, work: str, night: Night, now: datetime) -> bool:
    """Claim a night in this transaction, whose commit marks it as done; return whether that succeeded.

    Return False without waiting if it is done, or if another transaction is doing it.
    """
    key = zlib.crc32(work.encode()) - 2**31
    if not session.scalar(select(func.pg_try_advisory_xact_lock(key, night.company_id))):
        return False
    taken = session.execute(
        insert(NightlyRun)
        .values(company_id=night.company_id, work=work, day=night.day, done_at=now)
        .on_conflict_do_nothing()
        .returning(NightlyRun.day)
    )
    return taken.first() is not None


def forget(session: Session, now: datetime) -> int:
    """Purge the rows of nights older than `KEPT`; return how many."""
    gone = session.execute(delete(NightlyRun).where(NightlyRun.day < (now - KEPT).date()))
    return gone.rowcount  # type: ignore[attr-defined, no-any-return]


def _done(session: Session, work: str, since: date) -> defaultdict[int, set[date]]:
    done: defaultdict[int, set[date]] = defaultdict(set)
    rows = session.execute(
        select(NightlyRun.company_id, NightlyRun.day).where(NightlyRun.work == work, NightlyRun.day >= since)
    )
    for company_id, day in rows:
        done[company_id].add(day)
    return done


def _night(company_id: int, slug: str, zone: str, day: date) -> Night:
    starts_at, ends_at = local_days.bounds(day, zone)
    return Night(
        company_id=company_id,
        company=slug,
        time_zone=zone,
        day=day,
        starts_at=starts_at,
        ends_at=ends_at,
    )
