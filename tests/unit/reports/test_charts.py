"""Routes, speeds and times as drawings: to scale, the right way up, and whole for any input."""

from datetime import UTC, datetime, timedelta
from math import hypot
from xml.etree import ElementTree

import pytest

from core.rules.geo import distance_m
from core.trips.speeds import SpeedStep
from core.trips.stops import Stop
from reports.charts import route_map, scales, speed_chart, svg, time_line
from reports.charts.route_map import Halt, Pin
from reports.charts.time_line import Stretch, TimeMark, Window
from reports.pages.clock import Clock, duration

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
CLOCK = Clock("UTC", [NOON])
Points = list[tuple[float, float]]


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def drawn(picture: str | None) -> ElementTree.Element:
    assert picture is not None
    return ElementTree.fromstring(picture)


def texts(picture: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in picture.iter(f"{SVG}text")]


def line_of(picture: ElementTree.Element) -> Points:
    """The places of the thick line."""
    (path,) = [p for p in picture.iter(f"{SVG}path") if p.get("stroke-width") == "2.75"]
    pairs = (path.get("d") or "").removeprefix("M").split("L")
    return [(float(x), float(y)) for x, y in (pair.split() for pair in pairs)]


@pytest.mark.parametrize("latitude", [-70.0, 0.0, 52.5])
def test_map_is_to_its_scale_bar_and_north_is_up(latitude: float) -> None:
    route = [(latitude, 13.0), (latitude + 0.02, 13.0), (latitude + 0.02, 13.05)]
    picture = drawn(route_map.draw([route], [], []))
    south, corner, east = line_of(picture)
    assert corner[1] < south[1]
    assert east[0] > corner[0]
    (bar,) = [p for p in picture.iter(f"{SVG}path") if (p.get("d") or "").startswith("M20 ")]
    units = float((bar.get("d") or "").partition("H")[2].partition("V")[0]) - 20
    number, unit = next(text for text in texts(picture) if text.endswith("m")).split()
    metres_per_unit = float(number) * (1000 if unit == "km" else 1) / units
    for a, b, from_, to in ((south, corner, *route[:2]), (corner, east, *route[1:])):
        paper_m = hypot(b[0] - a[0], b[1] - a[1]) * metres_per_unit
        assert paper_m == pytest.approx(distance_m(*from_, *to), rel=0.02)
    assert "N" in texts(picture)


def test_map_across_the_date_line_is_one_piece() -> None:
    x, to_x = (
        place[0] for place in line_of(drawn(route_map.draw([[(0.0, 179.99), (0.0, -179.99)]], [], [])))
    )
    assert 300 < to_x - x < 720


@pytest.mark.parametrize(
    "route",
    [[(52.0, 13.0)], [(52.0, 13.0), (52.0, 13.0)], [(90.0, 0.0), (-90.0, 180.0)], [(0.0, 0.0), (60.0, 0.0)]],
)
def test_map_of_hardly_anything_or_half_the_world_lies_on_the_paper(route: Points) -> None:
    picture = drawn(route_map.draw([route], [], []))
    height = float(picture.get("height") or 0)
    assert all(0 <= x <= 720 and 0 <= y <= height for x, y in line_of(picture))


def test_map_marks_start_end_stops_and_addresses() -> None:
    pins = [Pin("P", "Pickup: <b>", (52.0, 13.0), svg.INK), Pin("D", "Drop-off: x", (52.1, 13.2), svg.INK)]
    halts = [Halt(1, "5 min", (52.0, 13.0), 300), Halt(2, "1 h", (52.05, 13.1), 3600)]
    picture = drawn(route_map.draw([[(52.0, 13.0), (52.1, 13.2)]], halts, pins))
    assert {"1", "2", "P", "D", "N"} <= set(texts(picture))
    signs = [words for _, words in route_map.key(halts, pins, "end")]
    assert signs == ["start", "end", "stop, numbered as below", "P: pickup", "D: drop-off"]
    assert route_map.draw([], halts, pins) is None
    assert route_map.draw([[]], halts, pins) is None


def test_speed_is_broken_where_nothing_is_known() -> None:
    steps = [SpeedStep(at(minute), 60.0, 30.0, 40.0) for minute in (0, 1, 2, 20, 21)]
    picture = drawn(speed_chart.draw(steps, [Stop(at(5), at(15), 52.0, 13.0)], at(0), at(22), CLOCK))
    assert len([p for p in picture.iter(f"{SVG}path") if p.get("stroke-width") == "1.75"]) == 2
    assert "12:10" in texts(picture)
    assert speed_chart.draw([], [], at(0), at(1), CLOCK) is None
    drawn(speed_chart.draw(steps[:1], [], at(0), at(0), CLOCK))


def test_times_show_the_work_the_window_and_the_end() -> None:
    work = [Stretch("In transit 1 h", at(0), at(60), svg.ACCENT)]
    words = texts(
        drawn(
            time_line.draw(work, Window(at(10), at(50)), TimeMark("Delivered 13:00", at(60), svg.BAD), CLOCK)
        )
    )
    assert {"In transit 1 h", "agreed: 12:10 – 12:50", "Delivered 13:00"} <= set(words)  # noqa: RUF001
    far = drawn(time_line.draw(work, Window(None, at(100_000)), None, CLOCK))
    (bar,) = [one for one in far.iter(f"{SVG}rect") if one.get("fill") == svg.ACCENT]
    assert float(bar.get("width") or 0) > 100, "a window far away leaves the work to be seen"
    assert time_line.draw([], None, None, CLOCK) is None


def test_values_are_escaped() -> None:
    assert svg.label(0, 0, '<b a="1">&') == (
        '<text x="0" y="0" text-anchor="start" fill="#5b6b7b">&lt;b a=&#34;1&#34;&gt;&amp;</text>'
    )
    assert "&#34;&gt;" in svg.element("a", title='">')


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(13, [0, 4, 8, 12, 16]), (1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (90, [0, 20, 40, 60, 80, 100])],
)
def test_axes_have_round_numbers_up_to_the_highest(highest: float, expected: list[float]) -> None:
    assert scales.ticks(highest) == pytest.approx(expected)


def test_every_span_of_time_has_ticks_but_not_many() -> None:
    for minutes in (1, 7, 59, 240, 1439, 10_000, 600_000):
        assert 1 <= len(scales.instants(at(0), at(minutes))) <= 12, minutes


def test_times_show_their_offset_where_it_changes() -> None:
    instants = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    clock = Clock("Europe/Berlin", instants)
    assert [clock.time(instant) for instant in instants] == ["02:30 UTC+02:00", "02:30 UTC+01:00"]
    assert clock.title == "Europe/Berlin (UTC+01:00, UTC+02:00)"
    assert Clock("Europe/Berlin", instants[:1]).time(instants[0]) == "02:30"
    assert Clock("Asia/Kolkata", instants).title == "Asia/Kolkata (UTC+05:30)"
    assert CLOCK.span(at(0), at(60)) == "1 Mar 2026, 12:00 – 13:00"  # noqa: RUF001


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_spans_have_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words
