"""Instants on the wire: parsed by `core.rules.times.instants`, refused with the name of their field."""

from datetime import datetime
from typing import Any

from core.rules.times.instants import SHOULD_BE, BadInstant, from_epoch_seconds, from_iso
from formats.json_input import PayloadRefused, json_type


def instant(value: Any, name: str) -> datetime:
    """Parse ISO 8601 with a zone, or epoch seconds, to an instant in UTC. Raises `PayloadRefused`."""
    try:
        if type(value) is str:
            return from_iso(value)
        if type(value) in {int, float}:
            return from_epoch_seconds(value)
    except BadInstant as bad:
        raise PayloadRefused("bad_time", f"{name} {bad}") from None
    if value is None:
        raise PayloadRefused("missing_field", f"{name} is missing: {SHOULD_BE}")
    raise PayloadRefused("bad_type", f"{name} must be {SHOULD_BE}, not {json_type(value)}")
