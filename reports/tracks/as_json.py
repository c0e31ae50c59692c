"""A track as our own JSON: its segments, then every fix with all its fields."""

from collections.abc import Iterable, Iterator

import msgspec

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix


def write(track: Track, legs: Iterable[tuple[TripSegment, Iterable[TrackFix]]]) -> Iterator[str]:
    head = {
        "delivery_id": track.delivery_id,
        "start": track.start,
        "end": track.end,
        "removed_before": track.removed_before,
        "legs": track.legs,
    }
    yield _json(head).removesuffix("}") + ',"fixes":['
    separator = "\n"
    for _, fixes in legs:
        for fix in fixes:
            yield separator + _json(fix)
            separator = ",\n"
    yield "]}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
