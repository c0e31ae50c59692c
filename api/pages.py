"""Lists: ``{"items": […], "next": cursor or null}``. A cursor is opaque: the key of a page's last row."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import InvalidValue

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200
MAXIMUM_KEY = 2**63 - 1
Row = TypeVar("Row")


def encode(key: int | str) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).rstrip(b"=").decode()


def text_key(cursor: str | None) -> str | None:
    """The key in a cursor. Raises `InvalidValue` for whatever we did not make."""
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


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], int | str]) -> tuple[Sequence[Row], str | None]:
    """From a query for one row more than fits: the page, and the cursor of the next if there is one."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(key(rows[limit - 1]))


def _broken() -> InvalidValue:
    return InvalidValue("cursor", "is not a cursor of this list; leave it out to begin at the start")
