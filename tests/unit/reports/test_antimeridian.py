"""A drive over 180° of longitude is measured, simplified and drawn like any other."""

from datetime import UTC, datetime, timedelta
from math import cos, radians

import pytest

from core.rules import eta
from core.rules.geo import degrees_east, distance_m, wrapped
from core.trips.measure import Drive, Meter, Sample
from core.trips.simplification import simplified
from reports.charts import route_map, svg
from reports.charts.route_map import Halt, Pin
from tests.support.tracks import travelled_m

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATITUDE = -16.8  # Taveuni in Fiji, which 180° crosses
EAST_METRE = 1 / 111_195 / cos(radians(LATITUDE))


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def drive(shift: float) -> list[Sample]:
    """3 km east, ten minutes of a wandering receiver on the meridian of 0° + ``shift``, and 3 km on."""
    moves = [(second, 10.0 * second - 3000.0) for second in range(0, 300, 5)]
    moves += [(300 + second, ((second // 10) % 5 - 2) * 8.0) for second in range(0, 600, 10)]
    moves += [(900 + second, 10.0 * second) for second in range(0, 300, 5)]
    return [Sample(at(second), LATITUDE, wrapped(east_m * EAST_METRE + shift)) for second, east_m in moves]


def measured(samples: list[Sample]) -> Drive:
    meter = Meter(NOON, at(1200))
    meter.add(samples)
    return meter.drive()


def test_stop_astride_180_degrees_is_found() -> None:
    (stop,) = measured(drive(180.0)).stops
    assert stop.seconds == pytest.approx(600, abs=15)
    assert distance_m(stop.latitude, stop.longitude, LATITUDE, 180.0) < 10
    assert -180 <= stop.longitude <= 180


@pytest.mark.parametrize("start", [180.0, -180.0, 179.99999, -179.99999])
def test_stop_is_found_on_whichever_side_it_begins(start: float) -> None:
    places = [start, -179.9999, 179.9999, 180.0, -180.0] * 10
    (stop,) = measured([Sample(at(10 * i), 0.0, lon) for i, lon in enumerate(places)]).stops
    assert distance_m(stop.latitude, stop.longitude, 0.0, 180.0) < 5


def test_distance_speed_and_line_are_those_of_any_other_drive() -> None:
    there, here = measured(drive(180.0)), measured(drive(0.0))
    assert there.distance_m == pytest.approx(here.distance_m, rel=1e-6)
    assert there.distance_m == pytest.approx(6000, rel=0.02)
    assert [step.average_kmh for step in there.speeds] == pytest.approx(
        [step.average_kmh for step in here.speeds]
    )
    assert len(there.lines[0]) == len(here.lines[0])


def test_simplification_keeps_the_same_fixes() -> None:
    kept = [
        [samples.index(one) for one in simplified(samples, 20.0)] for samples in (drive(0.0), drive(180.0))
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) < 30


def test_track_and_arrival_are_short_across_180_degrees() -> None:
    assert travelled_m([(0.0, 179.999), (0.0, -179.999)]) == pytest.approx(222, abs=1)
    arrival = eta.eta(NOON, 0.0, 179.95, 60.0, (0.0, -179.95))
    assert arrival is not None
    assert arrival - NOON < timedelta(minutes=20)


def test_route_map_draws_the_same_picture() -> None:
    def picture(shift: float) -> str:
        line = [(one.latitude, one.longitude) for one in drive(shift)]
        places = [(LATITUDE, wrapped(metres * EAST_METRE + shift)) for metres in (-3300.0, 3300.0, 0.0)]
        pins = [Pin("P", "Pickup", places[0], svg.INK), Pin("D", "Drop-off", places[1], svg.INK)]
        return str(route_map.draw([line], [Halt(1, "10 min", places[2], 600.0)], pins))

    assert picture(180.0) == picture(0.0)


@pytest.mark.parametrize(
    ("longitude", "to_longitude", "degrees"),
    [
        (179.0, -179.0, 2.0),
        (-179.0, 179.0, -2.0),
        (10.0, 20.0, 10.0),
        (-90.0, 90.0, 180.0),
        (180.0, -180.0, 0.0),
    ],
)
def test_turn_is_the_shorter_way_round(longitude: float, to_longitude: float, degrees: float) -> None:
    assert degrees_east(longitude, to_longitude) == degrees
