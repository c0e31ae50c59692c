"""Instants and numbers as text, for formats without types of their own."""

from datetime import UTC, datetime


def iso(instant: datetime) -> str:
    """Return ISO 8601 in UTC, as in ``2026-03-01T12:00:00.5Z``."""
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0')}Z" if "." in text else f"{text}Z"


def decimal(value: float) -> str:
    """Return up to 7 decimals, never an exponent, which XML's decimals and some CSV readers refuse."""
    text = f"{value:.7f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
