"""A track as GPX 1.1: one ``trkseg`` per trip segment of a vehicle.

Speed (m/s) and course are in Garmin's TrackPointExtension v2, since GPX 1.1 has neither. Both schemas exclude
the end of a full turn: 180° of longitude is -180°, a course of 360° is 0°.
"""

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks.values import decimal, iso

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Milepost" xmlns="http://www.topografix.com/GPX/1/1"
 xmlns:gpxtpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">
"""
# Characters that XML 1.0 cannot represent, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(track: Track, legs: Iterable[tuple[TripSegment, Iterable[TrackFix]]]) -> Iterator[str]:
    yield _HEAD
    name = escape(_NOT_XML.sub("\ufffd", track.reference))
    time = f"<time>{iso(track.start)}</time>" if track.start else ""
    yield f"<metadata><name>{name}</name>{time}</metadata>\n<trk><name>{name}</name>\n"
    for _, fixes in legs:
        yield "<trkseg>\n"
        for fix in fixes:
            yield _point(fix)
        yield "</trkseg>\n"
    yield "</trk>\n</gpx>\n"


def _point(fix: TrackFix) -> str:
    elevation = "" if fix.altitude_m is None else f"<ele>{decimal(fix.altitude_m)}</ele>"
    return (
        f'<trkpt lat="{decimal(fix.latitude)}" lon="{_below(fix.longitude, "180", "-180")}">{elevation}'
        f"<time>{iso(fix.fix_time)}</time>{_extensions(fix)}</trkpt>\n"
    )


def _extensions(fix: TrackFix) -> str:
    speed = "" if fix.speed_kmh is None else f"<gpxtpx:speed>{fix.speed_kmh / 3.6:.3f}</gpxtpx:speed>"
    degrees = None if fix.course_deg is None else _below(fix.course_deg, "360", "0")
    course = "" if degrees is None else f"<gpxtpx:course>{degrees}</gpxtpx:course>"
    if not speed and not course:
        return ""
    return (
        f"<extensions><gpxtpx:TrackPointExtension>{speed}{course}</gpxtpx:TrackPointExtension></extensions>"
    )


def _below(degrees: float, end: str, begin: str) -> str:
    """Format an angle; return ``begin`` if it reads ``end``, to which the formatting may round it up."""
    text = decimal(degrees)
    return begin if text == end else text
