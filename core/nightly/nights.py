"""What is done once for each company and local day, some hours after the day has ended.

A night is claimed in the transaction that does its work, so it is done once however many try at once, and
what fails is due again. Nights do not wait for each other: one that always fails holds up no other.
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

CAUGHT_UP_DAYS = 7  # after a longer downtime, or when a night fails for so long, older ones are let go
KEPT = timedelta(days=60)


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One local day of a company that has ended: from ``starts_at`` to before ``ends_at``."""

    company_id: int
    company: str
    time_zone: str
    day: date
    starts_at: datetime
    ends_at: datetime


def due(session: Session, work: str, hour: int, now: datetime) -> list[Night]:
    """The nights for which ``work`` is not done, although the company's clocks have reached ``hour`` since.

    Oldest first. A company for which it was never done begins with the last night, if it existed then.
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
    """Of the days up to ``last``: those not done, from the first one that was, and never before ``since``."""
    oldest = max(last - timedelta(days=CAUGHT_UP_DAYS - 1), min(done, default=last), since)
    days = [oldest + timedelta(days=number) for number in range((last - oldest).days + 1)]
    return [day for day in days if day not in done]


def claim(session: Session, work: str, night: Night, now: datetime) -> bool:
    """Take a night for this transaction: True, and it counts as done once that commits.

    False when it is done, or another transaction is just about to do it: nobody waits.
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
    """Delete the marks of nights long past."""
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
