"""The outlier filter: drop fixes that no vehicle can have reached, judged by their neighbours. Pure.

One pass and constant memory. A fix that cannot be reached from the previous one is held back until later ones
arrive: if they continue from the previous fix, it was an outlier and is dropped; if enough continue from it,
it is believed.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from core.rules.geo import distance_m

FASTEST_MPS = 70.0  # 250 km/h
BELIEVED = 10  # consecutive fixes that continue from one another
_NEAR_DEGREES = 0.0004  # 45 m: reachable within a second, so no calculation is needed


class Timed(Protocol):
    @property
    def at(self) -> datetime: ...
    @property
    def latitude(self) -> float: ...
    @property
    def longitude(self) -> float: ...


Fix = TypeVar("Fix", bound=Timed)


def without_wild(fixes: Iterable[Fix]) -> Iterator[Fix]:
    """Yield one vehicle's fixes in time order, without outliers."""
    sieve: _Sieve[Fix] = _Sieve()
    for fix in fixes:
        yield from sieve.add(fix)
    yield from sieve.rest()


def is_reachable(before: Timed, after: Timed) -> bool:
    """Return whether a vehicle can drive this far; fixes of the same second may be a second's drive apart."""
    north, east = after.latitude - before.latitude, after.longitude - before.longitude
    if -_NEAR_DEGREES < north < _NEAR_DEGREES and -_NEAR_DEGREES < east < _NEAR_DEGREES:
        return True
    seconds = max((after.at - before.at).total_seconds(), 1.0)
    metres = distance_m(before.latitude, before.longitude, after.latitude, after.longitude)
    return metres <= seconds * FASTEST_MPS


class _Sieve(Generic[Fix]):
    """``_first`` holds the fixes so far while there are too few to be believed, then it is None."""

    def __init__(self) -> None:
        self._first: list[Fix] | None = []
        self._last: Fix | None = None
        self._doubtful: list[Fix] = []

    def add(self, fix: Fix) -> list[Fix]:
        """Return the fixes that are now believed and were not returned before."""
        if self._last is None or is_reachable(self._last, fix):
            self._doubtful = []
            return self._believe([fix])
        if not self._doubtful or not is_reachable(self._doubtful[-1], fix):
            self._doubtful = []
        self._doubtful.append(fix)
        return self._believe_doubtful() if self._are_more() else []

    def rest(self) -> list[Fix]:
        return self._first or []

    def _are_more(self) -> bool:
        """Return whether the fixes in doubt outnumber those before them."""
        return len(self._doubtful) >= (BELIEVED if self._first is None else len(self._first) + 1)

    def _believe_doubtful(self) -> list[Fix]:
        believed, self._doubtful = self._doubtful, []
        if self._first is not None:
            self._first = []
        return self._believe(believed)

    def _believe(self, fixes: list[Fix]) -> list[Fix]:
        self._last = fixes[-1]
        if self._first is None:
            return fixes
        self._first += fixes
        if len(self._first) < BELIEVED:
            return []
        believed, self._first = self._first, None
        return believed
