"""A route drawn without a base map: to scale, north up, with its stops. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import atan2, cos, degrees, hypot, radians

import msgspec
from markupsafe import Markup

from core.rules.geo import EARTH_RADIUS_M
from reports.charts import scales, svg

WIDTH, TALLEST, FLATTEST, MARGIN = 720.0, 380.0, 220.0, 44.0
SMALLEST_M = 200.0  # a vehicle that stood still is not magnified beyond this
ARROW_EVERY = 130.0
CROWDED = 19.0
_METRES_PER_DEGREE = radians(1) * EARTH_RADIUS_M
Point = tuple[float, float]  # latitude and longitude
Place = tuple[float, float]  # x to the right, y down


class Pin(msgspec.Struct, frozen=True):
    """A lettered place, as the pickup or the drop-off."""

    letter: str
    title: str
    at: Point
    colour: str


class Halt(msgspec.Struct, frozen=True):
    """A numbered stop; the longer it lasted, the larger its circle."""

    number: int
    title: str
    at: Point
    seconds: float


class _Sheet:
    """The projection: an equirectangular plane around the middle, with one scale for both axes."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._first = points[0][1]
        latitudes = [latitude for latitude, _ in points]
        longitudes = [self._unwrapped(longitude) for _, longitude in points]
        self._north, self._west = max(latitudes), min(longitudes)
        self._shrink = max(cos(radians((self._north + min(latitudes)) / 2)), 0.01)
        across_m = (max(longitudes) - self._west) * _METRES_PER_DEGREE * self._shrink
        down_m = (self._north - min(latitudes)) * _METRES_PER_DEGREE
        inner = WIDTH - 2 * MARGIN
        self.metres_per_unit = max(
            max(across_m, SMALLEST_M) / inner, max(down_m, SMALLEST_M) / (TALLEST - 2 * MARGIN)
        )
        self.height = min(max(down_m / self.metres_per_unit + 2 * MARGIN, FLATTEST), TALLEST)
        self._left = (WIDTH - across_m / self.metres_per_unit) / 2
        self._top = (self.height - down_m / self.metres_per_unit) / 2

    def place(self, point: Point) -> Place:
        east = (self._unwrapped(point[1]) - self._west) * _METRES_PER_DEGREE * self._shrink
        south = (self._north - point[0]) * _METRES_PER_DEGREE
        return self._left + east / self.metres_per_unit, self._top + south / self.metres_per_unit

    def _unwrapped(self, longitude: float) -> float:
        """Return the longitude nearest to the first point's, even across the antimeridian."""
        return self._first + (longitude - self._first + 180) % 360 - 180


def draw(lines: Sequence[Sequence[Point]], halts: Sequence[Halt], pins: Sequence[Pin]) -> Markup | None:
    """Draw the route, or return None without a point. Each line is one vehicle's."""
    lines = [line for line in lines if line]
    driven = [point for line in lines for point in line]
    if not driven:
        return None
    sheet = _Sheet([*driven, *(pin.at for pin in pins)])
    placed = [[sheet.place(point) for point in line] for line in lines]
    parts = [
        svg.box(0.5, 0.5, WIDTH - 1, sheet.height - 1, svg.TINT, rx=6, stroke=svg.LINE),
        *_grid(sheet),
        *(part for line in placed for part in _line(line)),
        *_halts(sheet, halts, [*(pin.at for pin in pins), lines[0][0], lines[-1][-1]]),
        *(part for pin in pins for part in _pin(sheet.place(pin.at), pin)),
        *_ends(placed),
        *_scale_bar(sheet),
        *_north_arrow(),
    ]
    return svg.picture(WIDTH, sheet.height, "The route driven", parts)


def _bar_m(sheet: _Sheet) -> float:
    return scales.round_down(sheet.metres_per_unit * WIDTH * 0.2)


def _grid(sheet: _Sheet) -> Iterator[Markup]:
    """Draw squares as wide as the scale bar, so that distances can be counted."""
    step = _bar_m(sheet) / sheet.metres_per_unit
    for index in range(1, int(WIDTH / step) + 1):
        yield svg.rule(index * step, 1.0, index * step, sheet.height - 1, "#e0e7ed")
    for index in range(1, int(sheet.height / step) + 1):
        yield svg.rule(1.0, index * step, WIDTH - 1, index * step, "#e0e7ed")


def _line(line: Sequence[Place]) -> Iterator[Markup]:
    shape = svg.path(line)
    drawn = {"d": shape, "fill": "none", "stroke_linejoin": "round", "stroke_linecap": "round"}
    yield svg.element("path", stroke="#ffffff", stroke_width=6, **drawn)
    yield svg.element("path", stroke=svg.ACCENT, stroke_width=2.75, **drawn)
    for x, y, angle in _arrows(line):
        yield svg.element(
            "path",
            d="M-3.5 -4L4.5 0L-3.5 4Z",
            fill="#ffffff",
            stroke=svg.ACCENT,
            stroke_width=1.25,
            transform=f"translate({x:.1f} {y:.1f}) rotate({angle:.0f})",
        )


def _arrows(line: Sequence[Place]) -> Iterator[tuple[float, float, float]]:
    """Yield the arrows of direction, at regular distances: x, y and rotation in degrees."""
    left = ARROW_EVERY / 2
    for (x, y), (to_x, to_y) in pairwise(line):
        length = hypot(to_x - x, to_y - y)
        while length > 0 and left <= length:
            share = left / length
            yield (
                x + share * (to_x - x),
                y + share * (to_y - y),
                degrees(atan2(to_y - y, to_x - x)),
            )
            left += ARROW_EVERY
        left -= length


def _ends(lines: Sequence[Sequence[Place]]) -> Iterator[Markup]:
    """Draw a ring where the drive began, a square where it ended."""
    x, y = lines[0][0]
    yield svg.element("circle", cx=x, cy=y, r=5.5, fill="#ffffff", stroke=svg.GOOD, stroke_width=3)
    x, y = lines[-1][-1]
    yield svg.box(x - 5, y - 5, 10, 10, "#ffffff", stroke=svg.INK, stroke_width=3)


def _halts(sheet: _Sheet, halts: Sequence[Halt], others: Sequence[Point]) -> Iterator[Markup]:
    """Draw the stops, longest first, so that none hides a smaller one; shift those that other marks hide."""
    marked = [sheet.place(point) for point in others]
    for halt in sorted(halts, key=lambda one: -one.seconds):
        x, y = sheet.place(halt.at)
        is_hidden = any(hypot(x - mark_x, y - mark_y) < CROWDED for mark_x, mark_y in marked)
        yield _halt((x + CROWDED, y) if is_hidden else (x, y), halt)


def _halt(place: Place, halt: Halt) -> Markup:
    x, y = place
    radius = 8 + min(halt.seconds / 600, 1.0) * 4
    return svg.element(
        "g",
        svg.element("title", f"{halt.number}. {halt.title}"),
        svg.element("circle", cx=x, cy=y, r=radius, fill=svg.LATE, stroke="#ffffff", stroke_width=1.5),
        svg.label(x, y + 3.6, str(halt.number), anchor="middle", fill="#ffffff", font_weight="bold"),
    )


def _pin(place: Place, pin: Pin) -> Iterable[Markup]:
    """Draw a drop whose tip is the place, so that the map below stays visible."""
    x, y = place
    yield svg.element(
        "g",
        svg.element("title", pin.title),
        svg.element(
            "path",
            d="M0 0C-3 -9 -11 -13 -11 -21A11 11 0 1 1 11 -21C11 -13 3 -9 0 0Z",
            fill=pin.colour,
            stroke="#ffffff",
            stroke_width=1.5,
        ),
        svg.label(0, -17, pin.letter, anchor="middle", fill="#ffffff", font_weight="bold", font_size=12),
        transform=f"translate({x:.1f} {y:.1f})",
    )


def _scale_bar(sheet: _Sheet) -> Iterator[Markup]:
    metres = _bar_m(sheet)
    length, y = metres / sheet.metres_per_unit, sheet.height - 16
    yield svg.box(10, y - 18, length + 20, 27, "#ffffff", rx=4, fill_opacity=0.85)
    yield svg.element(
        "path",
        d=f"M20 {y - 5:.1f}V{y:.1f}H{20 + length:.1f}V{y - 5:.1f}",
        fill="none",
        stroke=svg.INK,
        stroke_width=1.5,
    )
    yield svg.label(20 + length / 2, y - 6, scales.length_words(metres), anchor="middle", fill=svg.INK)


def _north_arrow() -> Iterator[Markup]:
    x = WIDTH - 26
    yield svg.element("circle", cx=x, cy=28, r=17, fill="#ffffff", fill_opacity=0.85)
    yield svg.element("path", d=f"M{x} 14L{x + 6} 32L{x} 28L{x - 6} 32Z", fill=svg.INK)
    yield svg.label(x, 43, "N", anchor="middle", fill=svg.INK, font_size=10, font_weight="bold")


def key(halts: Sequence[Halt], pins: Sequence[Pin], end: str) -> list[tuple[Markup, str]]:
    """Return the legend: icons and words. ``end`` says what the square means."""
    ring = svg.element("circle", cx=7, cy=7, r=4.5, fill="#ffffff", stroke=svg.GOOD, stroke_width=3)
    square = svg.box(2.5, 2.5, 9, 9, "#ffffff", stroke=svg.INK, stroke_width=3)
    signs = [(ring, "start"), (square, end)]
    if halts:
        signs.append((svg.element("circle", cx=7, cy=7, r=6.5, fill=svg.LATE), "stop, numbered as below"))
    for pin in pins:
        drop = svg.element(
            "path", d="M7 14C6 11 2 9.5 2 5.5A5 5 0 1 1 12 5.5C12 9.5 8 11 7 14Z", fill=pin.colour
        )
        signs.append((drop, f"{pin.letter}: {pin.title.partition(':')[0].lower()}"))
    return [(svg.icon(mark), words) for mark, words in signs]
