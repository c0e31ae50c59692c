"""The export formats of a track. Each is written piece by piece, whatever the number of its fixes."""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks import as_csv, as_geojson, as_gpx, as_json

CHUNK_CHARACTERS = 64 * 1024
# Each vehicle's segment with its fixes, to be read once and in order.
LegFixes = Iterable[tuple[TripSegment, Iterable[TrackFix]]]


class TrackFormat(enum.StrEnum):
    """Also the extension of a file's name."""

    JSON = "json"
    GEOJSON = "geojson"
    GPX = "gpx"
    CSV = "csv"


class TrackWriter(msgspec.Struct, frozen=True):
    media_type: str
    write: Callable[[Track, LegFixes], Iterator[str]]


WRITERS: Mapping[TrackFormat, TrackWriter] = {
    TrackFormat.JSON: TrackWriter("application/json", as_json.write),
    TrackFormat.GEOJSON: TrackWriter("application/geo+json", as_geojson.write),
    TrackFormat.GPX: TrackWriter("application/gpx+xml", as_gpx.write),
    TrackFormat.CSV: TrackWriter("text/csv", as_csv.write),
}


def chunks(pieces: Iterable[str]) -> Iterator[bytes]:
    """Join small pieces of text into fewer, larger ones of UTF-8.

    An empty piece is passed on: its writer has no data yet and lets the stream check its deadline.
    """
    held: list[str] = []
    size = 0
    for piece in pieces:
        if not piece:
            yield b""
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_CHARACTERS:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()
