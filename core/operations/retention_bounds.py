"""The times before which each company's fixes and deliveries are purged."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database import partitions
from core.models.company import Company


class RetentionBounds(msgspec.Struct, frozen=True):
    """One company's bounds; None: kept for ever. They are at midnight UTC, so they move once per day."""

    company_id: int
    fixes_before: datetime | None
    deliveries_before: datetime | None


def read(session: Session, now: datetime) -> list[RetentionBounds]:
    """Return every company's bounds. The company that keeps fixes longest loses them by partition.

    See `months_before`.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = session.execute(
        select(Company.id, Company.fixes_kept_days, Company.deliveries_kept_days).order_by(Company.id)
    ).all()
    longest = max((days for _, days, _ in rows if days is not None), default=None)
    is_bounded = all(days is not None for _, days, _ in rows)
    return [
        RetentionBounds(
            company_id,
            _fixes_before(midnight, fix_days, by_months=is_bounded and fix_days == longest),
            None if delivery_days is None else midnight - timedelta(days=delivery_days),
        )
        for company_id, fix_days, delivery_days in rows
    ]


def _fixes_before(midnight: datetime, days: int | None, *, by_months: bool) -> datetime | None:
    if days is None:
        return None
    before = midnight - timedelta(days=days)
    return partitions.month_start(before) if by_months else before


def read_again(session: Session, bounds: Sequence[RetentionBounds], now: datetime) -> list[RetentionBounds]:
    """Return the present bounds, but none later than in ``bounds``, up to which distances are stored.

    A run takes hours, and a company that has chosen to keep more in the meantime must not lose it.
    """
    known = {bound.company_id: bound for bound in bounds}
    return [_earlier(known.get(bound.company_id, bound), bound) for bound in read(session, now)]


def _earlier(one: RetentionBounds, other: RetentionBounds) -> RetentionBounds:
    return RetentionBounds(
        one.company_id,
        _first(one.fixes_before, other.fixes_before),
        _first(one.deliveries_before, other.deliveries_before),
    )


def _first(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else min(one, other)


def months_before(bounds: Sequence[RetentionBounds]) -> datetime | None:
    """Return the time before which no company needs fixes; None if one keeps them for ever or none exists."""
    befores = [bound.fixes_before for bound in bounds]
    present = [before for before in befores if before is not None]
    return min(present) if present and len(present) == len(befores) else None
