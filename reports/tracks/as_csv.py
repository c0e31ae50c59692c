"""A track as CSV (RFC 4180): a header, then one line per fix."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks.values import decimal, iso

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = frozenset('",\r\n')


def write(_track: Track, legs: Iterable[tuple[TripSegment, Iterable[TrackFix]]]) -> Iterator[str]:
    yield line(TrackFix.__struct_fields__)
    for _, fixes in legs:
        for fix in fixes:
            yield line(msgspec.structs.astuple(fix))


def line(values: Iterable[object]) -> str:
    return ",".join([_cell(value) for value in values]) + "\r\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return decimal(value)
    if isinstance(value, datetime):
        return iso(value)
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    """Prefix text that looks like a formula with an apostrophe: a spreadsheet would execute it."""
    if value.startswith(_FORMULA):
        value = f"'{value}"
    if _QUOTED.isdisjoint(value):
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'
