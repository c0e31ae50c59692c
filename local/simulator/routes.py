"""A route through the city as one line: metres on a plane, each piece with limit, course and cover. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import acos, atan2, cos, degrees, dist, radians, sqrt, tan

from local.simulator.city import Point
from local.simulator.street_graph import Edge

ORIGIN: Point = (38.735, -9.145)
METRES_PER_DEGREE = 111_195.0
METRES_PER_DEGREE_EAST = METRES_PER_DEGREE * cos(radians(ORIGIN[0]))
CORNER_M = 14.0
SIDE_STREET_KMH = 25.0
SIDEWAYS_MPS2 = 2.4
LEAST_TURN_MPS = 1.5
STOP_LINE_M = 18.0

Place = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """A straight piece, ``start_m`` metres after the route's start; ``limit_mps`` is not exceeded."""

    start_m: float
    length_m: float
    east_m: float
    north_m: float
    to_east_m: float
    to_north_m: float
    limit_mps: float
    course_deg: float
    tunnel: bool


@dataclass(frozen=True)
class Route:
    """``stop_lines_m`` are the places of traffic lights, in metres from the start."""

    pieces: tuple[Piece, ...]
    starts_m: tuple[float, ...]
    stop_lines_m: tuple[float, ...]
    length_m: float

    def piece_at(self, distance_m: float) -> Piece:
        return self.pieces[max(0, bisect_right(self.starts_m, distance_m) - 1)]


def to_plane(latitude: float, longitude: float) -> Place:
    """Return metres east and north of the city's middle."""
    return (longitude - ORIGIN[1]) * METRES_PER_DEGREE_EAST, (latitude - ORIGIN[0]) * METRES_PER_DEGREE


def to_degrees(east_m: float, north_m: float) -> Point:
    return ORIGIN[0] + north_m / METRES_PER_DEGREE, ORIGIN[1] + east_m / METRES_PER_DEGREE_EAST


def place_on(piece: Piece, distance_m: float) -> Place:
    share = (distance_m - piece.start_m) / piece.length_m
    return (
        piece.east_m + (piece.to_east_m - piece.east_m) * share,
        piece.north_m + (piece.to_north_m - piece.north_m) * share,
    )


@dataclass(frozen=True)
class _Leg:
    """A straight line before its corners are rounded."""

    start: Place
    end: Place
    limit_mps: float
    tunnel: bool

    @property
    def length_m(self) -> float:
        return dist(self.start, self.end)


def along(way: Sequence[Edge], start: Point | None = None, end: Point | None = None) -> Route:
    """Return the route over these edges; ``start`` and ``end`` (degrees) add a side street before and after.

    Raises `ValueError` when the route has no length.
    """
    legs = [
        _Leg(to_plane(*a), to_plane(*b), edge.street.limit_kmh / 3.6, edge.street.tunnel)
        for edge in way
        for a, b in pairwise(edge.points)
    ]
    if start is not None and end is not None and not legs:
        legs = [_side_street(to_plane(*start), to_plane(*end))]
    elif start is not None and legs:
        legs.insert(0, _side_street(to_plane(*start), legs[0].start))
    if end is not None and way:
        legs.append(_side_street(legs[-1].end, to_plane(*end)))
    legs = [leg for leg in legs if leg.length_m > 1.0]
    if not legs:
        raise ValueError("a route needs two places")
    pieces = _pieces(_rounded(legs))
    starts_m = tuple(piece.start_m for piece in pieces)
    length_m = starts_m[-1] + pieces[-1].length_m
    return Route(pieces, starts_m, _stop_lines(way, pieces, starts_m), length_m)


def _side_street(start: Place, end: Place) -> _Leg:
    return _Leg(start, end, SIDE_STREET_KMH / 3.6, tunnel=False)


def _rounded(legs: Sequence[_Leg]) -> list[_Leg]:
    """Replace every corner by a bow of four short legs, at the speed at which a van takes it."""
    rounded = [legs[0]]
    for leg in legs[1:]:
        before = rounded.pop()
        cut_m = min(CORNER_M, before.length_m / 3, leg.length_m / 3)
        enter = _towards(before.end, before.start, cut_m)
        leave = _towards(leg.start, leg.end, cut_m)
        limit_mps = min(before.limit_mps, leg.limit_mps, _turn_mps(before, leg, cut_m))
        bow = [_bezier(enter, before.end, leave, share / 4) for share in range(5)]
        rounded.append(_Leg(before.start, enter, before.limit_mps, before.tunnel))
        rounded += [_Leg(a, b, limit_mps, before.tunnel and leg.tunnel) for a, b in pairwise(bow)]
        rounded.append(_Leg(leave, leg.end, leg.limit_mps, leg.tunnel))
    return rounded


def _turn_mps(before: _Leg, after: _Leg, cut_m: float) -> float:
    """Return the speed at which the lateral acceleration of this corner stays bearable."""
    along_m = (before.end[0] - before.start[0]) * (after.end[0] - after.start[0])
    along_m += (before.end[1] - before.start[1]) * (after.end[1] - after.start[1])
    turn = acos(max(-1.0, min(1.0, along_m / (before.length_m * after.length_m))))
    radius_m = cut_m / max(tan(turn / 2), 1e-3)
    return max(LEAST_TURN_MPS, sqrt(SIDEWAYS_MPS2 * radius_m))


def _towards(start: Place, end: Place, metres: float) -> Place:
    share = metres / dist(start, end)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _bezier(start: Place, middle: Place, end: Place, share: float) -> Place:
    rest = 1 - share
    return (
        rest * rest * start[0] + 2 * rest * share * middle[0] + share * share * end[0],
        rest * rest * start[1] + 2 * rest * share * middle[1] + share * share * end[1],
    )


def _pieces(legs: Sequence[_Leg]) -> tuple[Piece, ...]:
    starts = accumulate((leg.length_m for leg in legs), initial=0.0)
    return tuple(
        Piece(start_m, leg.length_m, *leg.start, *leg.end, leg.limit_mps, _course(leg), leg.tunnel)
        for start_m, leg in zip(starts, legs, strict=False)
    )


def _course(leg: _Leg) -> float:
    """Return degrees clockwise from north, 0 to 360."""
    return degrees(atan2(leg.end[0] - leg.start[0], leg.end[1] - leg.start[1])) % 360


def _stop_lines(way: Sequence[Edge], pieces: Sequence[Piece], starts_m: Sequence[float]) -> tuple[float, ...]:
    """Return a stop line before each junction on the route, but not inside a tunnel."""
    lines = set()
    for edge in way[:-1]:
        at_m = _nearest(pieces, *to_plane(*edge.points[-1])).start_m - STOP_LINE_M
        if at_m > STOP_LINE_M and not pieces[bisect_right(starts_m, at_m) - 1].tunnel:
            lines.add(at_m)
    return tuple(sorted(lines))


def _nearest(pieces: Sequence[Piece], east_m: float, north_m: float) -> Piece:
    return min(pieces, key=lambda piece: dist((piece.east_m, piece.north_m), (east_m, north_m)))
