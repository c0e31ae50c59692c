"""Keyset pagination: ``{"items": […], "next": cursor or null}``.

A cursor is opaque: the key of a page's last row.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from core.deliveries.listing import Key as DeliveryKey
from core.errors import InvalidValue

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200
MAXIMUM_KEY = 2**63 - 1
_DELIVERY_KEY = re.compile(r"([1-9]\d{0,18})(?:t(\d{1,18}))?", re.ASCII)
_YEAR_1 = datetime.min.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Row = TypeVar("Row")


def encode(key: int | str) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).rstrip(b"=").decode()


def text_key(cursor: str | None) -> str | None:
    """Return the key in a cursor. Raises `InvalidValue` for a malformed cursor."""
    if cursor is None:
        return None
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError):
        raise _broken() from None
    if not key.isalnum():
        raise _broken()
    return key


def number_key(cursor: str | None) -> int | None:
    key = text_key(cursor)
    if key is None:
        return None
    if not key.isdecimal() or len(key) > 19 or int(key) > MAXIMUM_KEY:
        raise _broken()
    return int(key)


def delivery_text(key: DeliveryKey) -> str:
    """Return ``42``, or ``42t63…`` (microseconds since the year 1) where the list is ordered by time."""
    if key.scheduled_at is None:
        return str(key.delivery_id)
    return f"{key.delivery_id}t{(key.scheduled_at - _YEAR_1) // _MICROSECOND}"


def delivery_key(cursor: str | None, *, by_time: bool) -> DeliveryKey | None:
    """Parse a cursor. Raises `InvalidValue`, also for a cursor of a list in another order."""
    if cursor is None:
        return None
    match = _DELIVERY_KEY.fullmatch(text_key(cursor) or "")
    if match is None or (match[2] is not None) != by_time or int(match[1]) > MAXIMUM_KEY:
        raise _broken()
    try:
        at = _YEAR_1 + int(match[2]) * _MICROSECOND if by_time else None
    except OverflowError:
        raise _broken() from None
    return DeliveryKey(int(match[1]), at)


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], int | str]) -> tuple[Sequence[Row], str | None]:
    """Return one page and the next page's cursor, or None, from a query for ``limit + 1`` rows."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(key(rows[limit - 1]))


def _broken() -> InvalidValue:
    return InvalidValue("cursor", "is not a cursor of this list; leave it out to begin at the start")
