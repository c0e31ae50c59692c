"""Instants as clients and devices write them: one reader for MQTT, REST, queries and forms.

ISO 8601 with a zone (``2026-03-01T12:00:00.5Z``, ``20260301T120000+0100``), or epoch seconds. Read strictly,
never guessed; every fraction is cut to microseconds, so that the same instant sent again is the same.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, DecimalException

# The date and the time are both written with their separators or both without. `fromisoformat` would take
# more (weeks, any letter between), and what it takes differs between versions of Python.
_ISO = re.compile(
    r"\d{4}(-?)\d\d\1\d\d"
    r"[Tt ]"
    r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d(?:[.,]\d+)?)?)"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)",
    re.ASCII,
)
_EPOCH_SECONDS = re.compile(r"-?\d{1,12}(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)  # as JSON writes it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000
SHOULD_BE = "ISO 8601 with a zone (2026-03-01T12:00:00Z), or epoch seconds"


class BadInstant(ValueError):
    """The text says what is wrong, without the field's name."""


def from_iso(text: str) -> datetime:
    """Return the instant in UTC. Raises `BadInstant`."""
    if _ISO.fullmatch(text) is None:
        raise BadInstant(_complaint(text))
    try:
        parsed = datetime.fromisoformat(text[:-1] + "Z" if text[-1] == "z" else text)
        return parsed if parsed.tzinfo is UTC else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInstant("is no day or time that there is") from None


def from_epoch_seconds(seconds: float) -> datetime:
    """Return the instant in UTC; the decimals that were written are cut. Raises `BadInstant`."""
    try:
        if type(seconds) is int:
            return _EPOCH + timedelta(seconds=seconds)
        # The shortest decimals of a float are those that were sent; binary ones would cut .3 to .299999.
        return _EPOCH + timedelta(microseconds=int(Decimal(repr(seconds)) * _MICROSECONDS))
    except (OverflowError, ValueError, DecimalException):
        raise BadInstant("is out of range: epoch seconds, not milliseconds") from None


def from_text(text: str) -> datetime:
    """Return the instant of a query or a form, where numbers are text too. Raises `BadInstant`."""
    if _EPOCH_SECONDS.fullmatch(text) is None:
        return from_iso(text)
    return from_epoch_seconds(float(text))


def _complaint(text: str) -> str:
    if re.search(r"\d \d\d:?\d\d$", text):
        return "has a blank before its offset: in a URL write + as %2B"
    if re.match(r"\d{4}-?\d\d-?\d\d[Tt ]\d\d", text) and not re.search(r"[Zz]$|[+-]\d\d:?\d*$", text[10:]):
        return "has no zone: end it with Z or an offset"
    return f"must be {SHOULD_BE}"
