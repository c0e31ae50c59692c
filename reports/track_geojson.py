"""A track as GeoJSON (RFC 7946): a ``FeatureCollection`` with one ``LineString`` for each vehicle's part.

``properties.coordTimes`` holds the instant of each coordinate, as togeojson, Mapbox and others have it. A
part of one fix is a ``Point`` with one time, a part of none is left out. Coordinates carry the altitude where
it is known.
"""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO

import msgspec

from core.legs import Leg
from core.track import Track, TrackFix
from reports.values import decimal, iso

SPOOL_BYTES = 1024 * 1024
PIECE = 64 * 1024


def write(track: Track, legs: Iterable[tuple[Leg, Iterable[TrackFix]]]) -> Iterator[str]:
    yield '{"type":"FeatureCollection","features":['
    separator = ""
    for leg, fixes in legs:
        for i, piece in enumerate(_feature(track, leg, iter(fixes))):
            yield separator + piece if i == 0 else piece
            separator = ","
    yield "]}"


def _feature(track: Track, leg: Leg, fixes: Iterator[TrackFix]) -> Iterator[str]:
    head = list(islice(fixes, 2))
    if not head:
        return
    is_line = len(head) > 1
    # The times follow the coordinates: beyond the first megabyte they wait on disk, not in memory.
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES, "w+", encoding="ascii") as times:
        yield '{"type":"Feature","geometry":{"type":'
        yield '"LineString","coordinates":[' if is_line else '"Point","coordinates":'
        yield from _coordinates(chain(head, fixes), times)
        yield "]" if is_line else ""
        yield f'}},"properties":{_properties(track, leg)},"coordTimes":['
        times.seek(0)
        while piece := times.read(PIECE):
            yield piece
        yield "]}}"


def _coordinates(fixes: Iterable[TrackFix], times: IO[str]) -> Iterator[str]:
    separator = ""
    for fix in fixes:
        times.write(f'{separator}"{iso(fix.fix_time)}"')
        altitude = "" if fix.altitude_m is None else f",{decimal(fix.altitude_m)}"
        yield f"{separator}[{decimal(fix.longitude)},{decimal(fix.latitude)}{altitude}]"
        separator = ","


def _properties(track: Track, leg: Leg) -> str:
    """Left open: the times are its last member."""
    values = {
        "delivery_id": track.delivery_id,
        "reference": track.reference,
        "vehicle_id": leg.vehicle_id,
        "start": iso(leg.start),
        "end": iso(leg.end),
    }
    return msgspec.json.encode(values).decode().removesuffix("}")
