"""The formats a track can be had in. Each is written piece by piece, whatever the number of its fixes."""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from core.legs import Leg
from core.track import Track, TrackFix
from reports import track_csv, track_geojson, track_gpx, track_json

CHUNK_CHARACTERS = 64 * 1024
# Each vehicle's part with its fixes, to be read once and in order.
LegFixes = Iterable[tuple[Leg, Iterable[TrackFix]]]


class TrackFormat(enum.StrEnum):
    """Also the ending of a file's name."""

    JSON = "json"
    GEOJSON = "geojson"
    GPX = "gpx"
    CSV = "csv"


class Writer(msgspec.Struct, frozen=True):
    media_type: str
    write: Callable[[Track, LegFixes], Iterator[str]]


WRITERS: Mapping[TrackFormat, Writer] = {
    TrackFormat.JSON: Writer("application/json", track_json.write),
    TrackFormat.GEOJSON: Writer("application/geo+json", track_geojson.write),
    TrackFormat.GPX: Writer("application/gpx+xml", track_gpx.write),
    TrackFormat.CSV: Writer("text/csv", track_csv.write),
}


def chunks(pieces: Iterable[str]) -> Iterator[bytes]:
    """Small pieces of text as few larger ones of UTF-8.

    An empty piece passes: its writer has nothing yet, and lets the stream look at its deadline.
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
