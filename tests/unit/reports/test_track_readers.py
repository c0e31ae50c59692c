"""Tracks as other people's programs read them: shapely, gpxpy, and the GPX 1.1 schema."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import gpxpy
import pytest
import shapely
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks.writers import WRITERS, TrackFormat

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMAS = Path(__file__).parents[2] / "schemas"
Place = tuple[float, float]  # longitude and latitude


@pytest.fixture(scope="module")
def gpx_schema() -> xmlschema.XMLSchema:
    """With that of the extension, so that what is in `extensions` is checked too."""
    extension = "http://www.garmin.com/xmlschemas/TrackPointExtension/v2"
    path = SCHEMAS / "track-point-extension-2.xsd"
    return xmlschema.XMLSchema(SCHEMAS / "gpx-1.1.xsd", locations={extension: str(path)})


def written(name: TrackFormat, *lines: list[TrackFix]) -> str:
    legs = [TripSegment(number, NOON, NOON + timedelta(hours=1)) for number in range(len(lines))]
    track = Track(42, "D-1 & <co>", NOON, NOON + timedelta(hours=1), legs)
    return "".join(WRITERS[name].write(track, list(zip(legs, lines, strict=True))))


def line(*places: Place, **values: Any) -> list[TrackFix]:
    """A fix every ten seconds."""
    return [
        TrackFix(1, NOON + timedelta(seconds=10 * number), latitude, longitude, **values)
        for number, (longitude, latitude) in enumerate(places)
    ]


def features(*lines: list[TrackFix]) -> list[Any]:
    document = json.loads(written(TrackFormat.GEOJSON, *lines))
    assert shapely.from_geojson(json.dumps(document)) is not None
    found: list[Any] = document["features"]
    for feature in found:
        assert_follows_rfc_7946(feature)
    return found


def assert_follows_rfc_7946(feature: Any) -> None:
    """Positions of one dimension, lines of two positions at least, no step over the antimeridian."""
    shape = shapely.geometry.shape(feature["geometry"])
    times = feature["properties"]["coordTimes"]
    parts = feature["geometry"]["coordinates"]
    if shape.geom_type == "Point":
        assert len(times) == 1
        return
    if shape.geom_type == "LineString":
        parts, times = [parts], [times]
    for part, part_times in zip(parts, times, strict=True):
        assert len(part) == len(part_times) >= 2
        instants = [datetime.fromisoformat(time) for time in part_times]
        assert instants == sorted(instants)
        assert len({len(position) for position in part}) == 1
        longitudes = [position[0] for position in part]
        assert all(-180 <= longitude <= 180 for longitude in longitudes)
        assert all(abs(b - a) <= 180 for a, b in pairwise(longitudes))


# --- GeoJSON ---


@pytest.mark.parametrize("without", [0, 4, 9])
def test_line_has_altitudes_for_all_its_fixes_or_for_none(without: int) -> None:
    fixes = line(*[(13.0 + number / 100, 52.0) for number in range(10)], altitude_m=34.5)
    (high,) = features(fixes)
    assert shapely.geometry.shape(high["geometry"]).has_z
    fixes[without] = replace(fixes[without], altitude_m=None)
    (flat,) = features(fixes)
    shape = shapely.geometry.shape(flat["geometry"])
    assert (shape.has_z, len(shape.coords)) == (False, 10)


def test_each_line_has_a_dimension_of_its_own() -> None:
    high, flat = features(line((1, 1), (2, 2), altitude_m=5.0), line((1, 1), (2, 2)))
    assert shapely.geometry.shape(high["geometry"]).has_z
    assert not shapely.geometry.shape(flat["geometry"]).has_z


def test_drive_across_180_degrees_is_cut_there() -> None:
    (feature,) = features(line((179.0, 10.0), (179.5, 20.0), (-179.5, 22.0), (-179.0, 30.0)))
    assert feature["geometry"] == {
        "type": "MultiLineString",
        "coordinates": [
            [[179, 10], [179.5, 20], [180, 21]],
            [[-180, 21], [-179.5, 22], [-179, 30]],
        ],
    }
    assert feature["properties"]["coordTimes"] == [
        ["2026-03-01T12:00:00Z", "2026-03-01T12:00:10Z", "2026-03-01T12:00:15Z"],
        ["2026-03-01T12:00:15Z", "2026-03-01T12:00:20Z", "2026-03-01T12:00:30Z"],
    ]


def test_drive_westward_across_180_degrees_is_cut_there() -> None:
    (feature,) = features(line((-179.9, 0.0), (179.9, 2.0), altitude_m=10.0))
    assert feature["geometry"]["coordinates"] == [
        [[-179.9, 0, 10], [-180, 1, 10]],
        [[180, 1, 10], [179.9, 2, 10]],
    ]


def test_altitude_at_the_cut_lies_between_its_neighbours() -> None:
    fixes = line((179.75, 0.0), altitude_m=100.0) + line((0, 0), (-179.25, 0.0), altitude_m=200.0)[1:]
    (feature,) = features(fixes)
    assert feature["geometry"]["coordinates"][0][-1] == [180, 0, 125]


def test_drive_to_and_fro_across_180_degrees_is_cut_each_time() -> None:
    (feature,) = features(line((179.9, 0.0), (-179.9, 0.0), (179.9, 0.0), (-179.9, 0.0)))
    assert len(feature["geometry"]["coordinates"]) == 4


@pytest.mark.parametrize(
    ("places", "kind", "coordinates"),
    [
        # Up to the antimeridian and back, however its longitude is written.
        ([(179, 0), (-180, 0), (179, 1)], "LineString", [[179, 0], [180, 0], [179, 1]]),
        ([(-180, 0), (179, 0)], "LineString", [[180, 0], [179, 0]]),
        ([(180, 0), (-180, 1), (-179, 1)], "LineString", [[-180, 0], [-180, 1], [-179, 1]]),
        # Along it.
        ([(180, 0), (-180, 1), (180, 2)], "LineString", [[180, 0], [180, 1], [180, 2]]),
        # Over it, with a fix on it: no point is added.
        (
            [(179, 0), (180, 5), (-179, 6)],
            "MultiLineString",
            [[[179, 0], [180, 5]], [[-180, 5], [-179, 6]]],
        ),
        # Half the world is no crossing.
        ([(-90, 0), (90, 0)], "LineString", [[-90, 0], [90, 0]]),
    ],
)
def test_fixes_on_the_antimeridian_stay_on_their_side(
    places: list[Place], kind: str, coordinates: list[Any]
) -> None:
    (feature,) = features(line(*places))
    assert feature["geometry"] == {"type": kind, "coordinates": coordinates}


def test_single_fix_is_a_point_and_none_is_no_feature() -> None:
    assert features([], line((180.0, 90.0)), [])[0]["geometry"] == {"type": "Point", "coordinates": [180, 90]}
    assert features([], []) == []


def test_poles_are_places_too() -> None:
    (feature,) = features(line((0, 90), (180, 90), (-120, 89.9), (100, -90)))
    assert shapely.geometry.shape(feature["geometry"]).bounds == (-180, -90, 180, 90)


PLACES = st.lists(
    st.tuples(
        st.sampled_from([-180.0, -179.9, -90.0, 0.0, 90.0, 179.9, 180.0]) | st.floats(-180, 180),
        st.floats(-90, 90),
    ),
    max_size=12,
)
ALTITUDES = st.lists(st.none() | st.floats(-100, 9000), min_size=12, max_size=12)


@given(PLACES, ALTITUDES)
def test_any_drive_is_read_by_shapely(places: list[Place], altitudes: list[float | None]) -> None:
    fixes = [
        replace(fix, altitude_m=altitude) for fix, altitude in zip(line(*places), altitudes, strict=False)
    ]
    found = features(fixes)
    assert len(found) == (1 if places else 0)


# --- GPX ---


@given(places=PLACES, altitudes=ALTITUDES, course=st.sampled_from([None, 0.0, 359.99999999, 360.0]))
def test_any_drive_is_valid_gpx(
    gpx_schema: xmlschema.XMLSchema, places: list[Place], altitudes: list[float | None], course: float | None
) -> None:
    fixes = [
        TrackFix(1, NOON, latitude, longitude, altitude_m=altitude, course_deg=course, speed_kmh=course)
        for (longitude, latitude), altitude in zip(places, altitudes, strict=False)
    ]
    gpx_schema.validate(written(TrackFormat.GPX, fixes, []))


def test_schema_refuses_what_gpx_does_not_allow(gpx_schema: xmlschema.XMLSchema) -> None:
    text = written(TrackFormat.GPX, line((179.5, 0.0), course_deg=359.0, altitude_m=1.0))
    gpx_schema.validate(text)
    for good, bad in (
        ("179.5", "180"),
        (">359<", ">360<"),
        ("<name>", "<note/><name>"),
        ("<ele>1</ele>", ""),
    ):
        spoilt = text.replace(good, bad, 1) if bad else text.replace("</time><ext", f"</time>{good}<ext")
        assert spoilt != text
        assert not gpx_schema.is_valid(spoilt), bad


@pytest.mark.parametrize("longitude", [180.0, -180.0, 179.99999999])
def test_gpx_writes_the_antimeridian_as_minus_180(gpx_schema: xmlschema.XMLSchema, longitude: float) -> None:
    text = written(TrackFormat.GPX, line((longitude, 1.0)))
    gpx_schema.validate(text)
    (point,) = gpxpy.parse(text).tracks[0].segments[0].points
    assert (point.longitude, point.latitude) == (-180, 1)


def test_gpxpy_reads_a_drive_across_180_degrees() -> None:
    fixes = line((179.999, 0.0), (-179.999, 0.0), altitude_m=7.0, speed_kmh=36.0, course_deg=360.0)
    gpx = gpxpy.parse(written(TrackFormat.GPX, fixes, line((1, 1))))
    first, second = gpx.tracks[0].segments
    assert gpx.tracks[0].name == "D-1 & <co>"
    assert [(one.elevation, one.time) for one in first.points] == [
        (7.0, NOON),
        (7.0, NOON + timedelta(seconds=10)),
    ]
    assert [child.text for child in first.points[0].extensions[0]] == ["10.000", "0"]
    assert second.points[0].elevation is None


# --- CSV and JSON, which have no rule of their own ---


@pytest.mark.parametrize("name", [TrackFormat.JSON, TrackFormat.CSV])
def test_longitudes_stay_as_they_were_reported(name: TrackFormat) -> None:
    text = written(name, line((180.0, 1.0), (-180.0, 2.0)))
    ending = ".0," if name is TrackFormat.JSON else ","
    assert f"180{ending}" in text
    assert f"-180{ending}" in text
