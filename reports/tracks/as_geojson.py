"""A track as GeoJSON (RFC 7946): a ``FeatureCollection`` with one line per trip segment of a vehicle.

A line is a ``LineString``; one that crosses 180° of longitude is a ``MultiLineString``, cut there. A single
fix is a ``Point``, a segment without fixes is left out. ``properties.coordTimes`` holds the instant of each
coordinate in the same shape, as in togeojson, Mapbox and others. Either all coordinates of a line have an
altitude or none has: readers refuse lines of mixed dimension, and RFC 7946 has no unknown altitude.

Shape and dimension are known only at a line's end. Until then the line is buffered, beyond the first megabyte
on disk.
"""

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

import msgspec

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks.antimeridian import Position, cut
from reports.tracks.values import decimal, iso

SPOOL_BYTES = 1024 * 1024
PAUSE_EVERY = 2_000  # positions


def write(track: Track, legs: Iterable[tuple[TripSegment, Iterable[TrackFix]]]) -> Iterator[str]:
    yield '{"type":"FeatureCollection","features":['
    separator = ""
    for leg, fixes in legs:
        is_begun = False
        for piece in _feature(track, leg, fixes):
            yield separator + piece if piece and not is_begun else piece
            is_begun = is_begun or bool(piece)
        separator = "," if is_begun else separator
    yield "]}"


def _feature(track: Track, leg: TripSegment, fixes: Iterable[TrackFix]) -> Iterator[str]:
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES, "w+", encoding="ascii", newline="\n") as spool:
        line = _Line(spool)
        for position in cut(fixes):
            line.add(position)
            if line.positions % PAUSE_EVERY == 0:
                yield ""  # nothing to send yet: see `reports.tracks.writers.chunks`
        if not line.positions:
            return
        opening, closing = line.brackets
        yield f'{{"type":"Feature","geometry":{{"type":"{line.kind}","coordinates":{opening}'
        yield from line.coordinates()
        yield f'{closing}}},"properties":{_properties(track, leg)},"coordTimes":{opening or "["}'
        yield from line.times()
        yield f"{closing or ']'}}}}}"


class _Line:
    """Positions buffered in a file, one per row: separator, coordinates, altitude, time."""

    def __init__(self, spool: IO[str]) -> None:
        self.positions = 0
        self._spool = spool
        self._parts = 1
        self._has_altitudes = True

    def add(self, position: Position) -> None:
        joint = "],[" if position.begins_part else "," if self.positions else ""
        altitude = "" if position.altitude_m is None else f",{decimal(position.altitude_m)}"
        self.positions += 1
        self._parts += position.begins_part
        self._has_altitudes &= position.altitude_m is not None
        coordinates = f"{decimal(position.longitude)},{decimal(position.latitude)}"
        self._spool.write(f'{joint}\t{coordinates}\t{altitude}\t"{iso(position.at)}"\n')

    @property
    def kind(self) -> str:
        if self.positions == 1:
            return "Point"
        return "LineString" if self._parts == 1 else "MultiLineString"

    @property
    def brackets(self) -> tuple[str, str]:
        """Return the brackets around the joined rows; a point's coordinates have only their own."""
        if self.positions == 1:
            return "", ""
        return ("[", "]") if self._parts == 1 else ("[[", "]]")

    def coordinates(self) -> Iterator[str]:
        for joint, coordinates, altitude, _ in self._rows():
            yield f"{joint}[{coordinates}{altitude if self._has_altitudes else ''}]"

    def times(self) -> Iterator[str]:
        for joint, _, _, time in self._rows():
            yield f"{joint}{time}"

    def _rows(self) -> Iterator[list[str]]:
        self._spool.seek(0)
        for row in self._spool:
            yield row.rstrip("\n").split("\t")


def _properties(track: Track, leg: TripSegment) -> str:
    """Return the properties, left open: the times are their last member."""
    values = {
        "delivery_id": track.delivery_id,
        "reference": track.reference,
        "vehicle_id": leg.vehicle_id,
        "start": iso(leg.start),
        "end": iso(leg.end),
    }
    return msgspec.json.encode(values).decode().removesuffix("}")
