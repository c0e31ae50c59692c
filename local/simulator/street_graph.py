"""The quickest routes through the city's streets."""

import heapq
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from core.rules.geo import distance_m
from local.simulator.city import JUNCTIONS, STREETS, Point, Street


@dataclass(frozen=True)
class Edge:
    """A street between two junctions, as driven: ``points`` from one to the other, both included."""

    street: Street
    to: str
    points: tuple[Point, ...]

    @property
    def seconds(self) -> float:
        metres = sum(distance_m(*a, *b) for a, b in pairwise(self.points))
        return metres / (self.street.limit_kmh / 3.6)


@cache
def edges() -> dict[str, tuple[Edge, ...]]:
    """Return the streets that leave each junction."""
    leaving: dict[str, list[Edge]] = {name: [] for name in JUNCTIONS}
    for street in STREETS:
        for piece in _between_junctions(street):
            points = tuple(JUNCTIONS[stop] if isinstance(stop, str) else stop for stop in piece)
            first, last = str(piece[0]), str(piece[-1])
            leaving[first].append(Edge(street, last, points))
            leaving[last].append(Edge(street, first, points[::-1]))
    return {name: tuple(found) for name, found in leaving.items()}


def _between_junctions(street: Street) -> list[tuple[str | Point, ...]]:
    stops = [index for index, stop in enumerate(street.line) if isinstance(stop, str)]
    return [street.line[a : b + 1] for a, b in pairwise(stops)]


def quickest_way(start: str, end: str) -> tuple[Edge, ...]:
    """Return the quickest route at the speed limits (Dijkstra); [] when already there. Raises `KeyError`."""
    leaving = edges()
    best: dict[str, tuple[Edge, ...]] = {}
    queue: list[tuple[float, int, str, tuple[Edge, ...]]] = [(0.0, 0, start, ())]
    pushed = 0
    while queue:
        seconds, _, here, path = heapq.heappop(queue)
        if here == end:
            return path
        if here in best:
            continue
        best[here] = path
        for edge in leaving[here]:
            pushed += 1
            heapq.heappush(queue, (seconds + edge.seconds, pushed, edge.to, (*path, edge)))
    raise KeyError(end)
