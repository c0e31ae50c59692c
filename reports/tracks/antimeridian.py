"""Cut lines where they cross 180° of longitude (RFC 7946, section 3.1.9). Pure, one pass, constant memory.

Two positions are joined the shorter way round: a step of more than 180° crosses the antimeridian. A position
on it belongs to the side of the position before; leading ones, to the side of the next.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from core.rules.geo import degrees_east
from core.trips.track import TrackFix

EDGE = 180.0


class Position(NamedTuple):
    """Degrees WGS 84; ``begins_part`` where the line was cut just before."""

    longitude: float
    latitude: float
    altitude_m: float | None
    at: datetime
    begins_part: bool = False


def cut(fixes: Iterable[TrackFix]) -> Iterator[Position]:
    """Return the positions of the line's parts, with the two ends at ±180° of each cut between them.

    Given two or more fixes, every part has at least two positions.
    """
    last: Position | None = None
    for position in _on_one_side(fixes):
        if last is not None and abs(position.longitude - last.longitude) > EDGE:
            yield from _ends(last, position)
        yield position
        last = position


def _on_one_side(fixes: Iterable[TrackFix]) -> Iterator[Position]:
    """Return the fixes, those on the antimeridian with the sign of their neighbour."""
    side = 0.0
    waiting: list[Position] = []
    for fix in fixes:
        position = Position(fix.longitude, fix.latitude, fix.altitude_m, fix.fix_time)
        if abs(fix.longitude) < EDGE:
            side = EDGE if fix.longitude >= 0 else -EDGE
            yield from (one._replace(longitude=side) for one in waiting)
            waiting = []
            yield position
        elif side:
            yield position._replace(longitude=side)
        else:
            waiting.append(position)
    yield from (one._replace(longitude=waiting[0].longitude) for one in waiting)


def _ends(before: Position, after: Position) -> Iterator[Position]:
    """Return where the line crosses, on both sides; on one if ``before`` lies on the antimeridian."""
    edge = EDGE if before.longitude > 0 else -EDGE
    share = (edge - before.longitude) / degrees_east(before.longitude, after.longitude)
    altitude_m = None
    if before.altitude_m is not None and after.altitude_m is not None:
        altitude_m = before.altitude_m + share * (after.altitude_m - before.altitude_m)
    latitude = before.latitude + share * (after.latitude - before.latitude)
    crossing = Position(edge, latitude, altitude_m, before.at + share * (after.at - before.at))
    if share > 0:
        yield crossing
    yield crossing._replace(longitude=-edge, begins_part=True)
