"""Instants on the wire: read strictly, never guessed."""

from datetime import UTC, datetime
from typing import Any

from formats.json_input import Refused, json_type


def instant(value: Any, name: str) -> datetime:
    """ISO 8601 with a zone, or epoch seconds → an instant in UTC. Raises `Refused`."""
    if type(value) is str:
        return _from_iso(value, name)
    if type(value) in {int, float}:
        return _from_epoch_seconds(value, name)
    if value is None:
        raise Refused("missing_field", f"{name} is missing: ISO 8601 with a zone, or epoch seconds")
    raise Refused("bad_type", f"{name} must be ISO 8601 or epoch seconds, not {json_type(value)}")


def _from_iso(value: str, name: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise Refused("bad_time", f"{name} is not a time in ISO 8601") from None
    if parsed.tzinfo is None:
        raise Refused("bad_time", f"{name} has no zone: end it with Z or an offset")
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise Refused("bad_time", f"{name} is out of range") from None


def _from_epoch_seconds(value: float, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise Refused("bad_time", f"{name} is out of range: epoch seconds, not milliseconds") from None
