"""Instants and numbers as text, for the formats that have no types of their own."""

from datetime import UTC, datetime


def iso(instant: datetime) -> str:
    """ISO 8601 in UTC, as in ``2026-03-01T12:00:00.5Z``."""
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0')}Z" if "." in text else f"{text}Z"


def decimal(value: float) -> str:
    """Up to 7 decimals and never an exponent, which neither XML's decimals nor every reader of CSV takes."""
    text = f"{value:.7f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
