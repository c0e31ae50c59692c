"""Tracks as text: well-formed, complete, and harmless to whoever opens them."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.trips.segments import TripSegment
from core.trips.track import Track, TrackFix
from reports.tracks import as_csv
from reports.tracks.values import decimal, iso
from reports.tracks.writers import CHUNK_CHARACTERS, WRITERS, TrackFormat, chunks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GPX = {
    "g": "http://www.topografix.com/GPX/1/1",
    "x": "http://www.garmin.com/xmlschemas/TrackPointExtension/v2",
}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fixes(vehicle_id: int, *seconds: float, **values: Any) -> list[TrackFix]:
    return [TrackFix(vehicle_id, at(one), 52.5 + one / 1000, -13.0000001, **values) for one in seconds]


LEGS = [TripSegment(7, at(0), at(60)), TripSegment(8, at(60), at(90)), TripSegment(9, at(90), at(95))]
TRACK = Track(42, "Müller & <Söhne>", at(0), at(95), LEGS)
KNOWN: dict[str, Any] = {"altitude_m": 34.5, "speed_kmh": 36.0, "course_deg": 90.0, "device_id": "k3v9x0q2ma"}


def written(name: TrackFormat, *parts: list[TrackFix], track: Track = TRACK) -> str:
    return "".join(WRITERS[name].write(track, list(zip(track.legs, parts, strict=True))))


TWO_VANS: tuple[list[TrackFix], ...] = (fixes(7, 0, 1.5, 2, **KNOWN), fixes(8, 60), [])


def test_json_has_the_segments_and_all_values_of_each_fix() -> None:
    document = json.loads(written(TrackFormat.JSON, *TWO_VANS))
    assert document["delivery_id"] == 42
    assert document["legs"][1] == {
        "vehicle_id": 8,
        "start": "2026-03-01T12:01:00Z",
        "end": "2026-03-01T12:01:30Z",
    }
    assert [fix["vehicle_id"] for fix in document["fixes"]] == [7, 7, 7, 8]
    assert document["fixes"][1] == KNOWN | {
        "vehicle_id": 7,
        "fix_time": "2026-03-01T12:00:01.500000Z",
        "latitude": 52.5015,
        "longitude": -13.0000001,
        "accuracy_m": None,
        "battery_percent": None,
    }


def test_geojson_is_a_line_per_van_with_a_time_per_coordinate() -> None:
    document = json.loads(written(TrackFormat.GEOJSON, *TWO_VANS))
    line, point = document["features"]
    assert document["type"] == "FeatureCollection"
    assert line["geometry"]["type"] == "LineString"
    assert line["geometry"]["coordinates"][1] == [-13.0000001, 52.5015, 34.5]
    assert line["properties"]["coordTimes"] == [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:01.5Z",
        "2026-03-01T12:00:02Z",
    ]
    assert line["properties"]["reference"] == "Müller & <Söhne>"
    assert point["geometry"] == {"type": "Point", "coordinates": [-13.0000001, 52.56]}
    assert point["properties"]["coordTimes"] == ["2026-03-01T12:01:00Z"]
    assert point["properties"]["vehicle_id"] == 8


def test_gpx_is_well_formed_with_a_segment_for_each_van() -> None:
    root = ElementTree.fromstring(written(TrackFormat.GPX, *TWO_VANS))
    assert root.tag == "{http://www.topografix.com/GPX/1/1}gpx"
    assert root.get("version") == "1.1"
    assert root.findtext("g:trk/g:name", namespaces=GPX) == "Müller & <Söhne>"
    segments = root.findall("g:trk/g:trkseg", GPX)
    assert [len(segment) for segment in segments] == [3, 1, 0]
    point = segments[0][1]
    assert (point.get("lat"), point.get("lon")) == ("52.5015", "-13.0000001")
    assert [child.tag.partition("}")[2] for child in point] == ["ele", "time", "extensions"]
    assert point.findtext("g:time", namespaces=GPX) == "2026-03-01T12:00:01.5Z"
    extension = point.find("g:extensions/x:TrackPointExtension", GPX)
    assert extension is not None
    assert [child.text for child in extension] == ["10.000", "90"]


@given(st.text())
def test_gpx_survives_any_reference(reference: str) -> None:
    track = Track(1, reference, None, None, [])
    ElementTree.fromstring(written(TrackFormat.GPX, track=track).encode("utf-8", "surrogatepass"))


def test_csv_has_a_header_and_ends_its_lines_as_the_rfc_says() -> None:
    text = written(TrackFormat.CSV, *TWO_VANS)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == text.count("\n") == 5
    assert rows[1] == {
        "vehicle_id": "7",
        "fix_time": "2026-03-01T12:00:01.5Z",
        "latitude": "52.5015",
        "longitude": "-13.0000001",
        "altitude_m": "34.5",
        "speed_kmh": "36",
        "course_deg": "90",
        "accuracy_m": "",
        "battery_percent": "",
        "device_id": "k3v9x0q2ma",
    }


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_runs_no_formula(text: str) -> None:
    [[cell]] = csv.reader(io.StringIO(as_csv.line([text]), newline=""))
    assert cell == f"'{text}"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2))
def test_csv_reads_back(values: list[str]) -> None:
    [row] = csv.reader(io.StringIO(as_csv.line(values), newline=""), strict=True)
    assert [cell.removeprefix("'") for cell in row] == [value.removeprefix("'") for value in values]


@pytest.mark.parametrize("name", TrackFormat)
def test_track_without_fixes_is_a_whole_document(name: TrackFormat) -> None:
    text = written(name, track=Track(1, "r", None, None, []))
    if name in {TrackFormat.JSON, TrackFormat.GEOJSON}:
        json.loads(text)
    elif name is TrackFormat.GPX:
        ElementTree.fromstring(text)
    else:
        assert text.startswith("vehicle_id,")


@pytest.mark.parametrize("name", TrackFormat)
def test_fixes_are_read_one_by_one(name: TrackFormat) -> None:
    """What is written of the first fixes is there before the last are read; GeoJSON gives control back."""
    taken = 0

    def endless() -> Iterator[TrackFix]:
        nonlocal taken
        while True:
            taken += 1
            yield TrackFix(7, at(taken), 52.5, 13.4)

    pieces = chunks(WRITERS[name].write(TRACK, iter([(LEGS[0], endless())])))
    first = next(pieces)
    assert len(first) >= CHUNK_CHARACTERS or (name is TrackFormat.GEOJSON and first == b"")
    assert taken < 10_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.00000001, "0"), (1e-7, "0.0000001"), (-13.40, "-13.4"), (180.0, "180")],
)
def test_decimals_have_no_exponent(value: float, text: str) -> None:
    assert decimal(value) == text


def test_instants_are_utc() -> None:
    assert iso(datetime.fromisoformat("2026-03-01T13:00:00.250+01:00")) == "2026-03-01T12:00:00.25Z"
