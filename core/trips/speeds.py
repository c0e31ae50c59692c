"""Speed over time in a bounded number of steps, whatever the number of fixes. Pure."""

from datetime import datetime, timedelta

import msgspec

MAXIMUM_STEPS = 240
SHORTEST = timedelta(seconds=15)


class SpeedStep(msgspec.Struct, frozen=True):
    """The mean and the maximum speed of the fixes from ``start`` on, for ``seconds``."""

    start: datetime
    seconds: float
    average_kmh: float
    maximum_kmh: float


class SpeedSteps:
    """Accumulate speeds in any order. A step without a fix is left out, because its speed is unknown."""

    def __init__(self, start: datetime, end: datetime) -> None:
        span = max(end - start, SHORTEST)
        self._start = start
        self._count = max(1, min(MAXIMUM_STEPS, span // SHORTEST))
        self._step_s = span.total_seconds() / self._count
        self._sums = [0.0] * self._count
        self._highest = [0.0] * self._count
        self._fixes = [0] * self._count

    def add(self, at: datetime, speed_kmh: float) -> None:
        index = int((at - self._start).total_seconds() / self._step_s)
        index = min(max(index, 0), self._count - 1)
        self._sums[index] += speed_kmh
        self._fixes[index] += 1
        if speed_kmh > self._highest[index]:
            self._highest[index] = speed_kmh

    def steps(self) -> list[SpeedStep]:
        return [
            SpeedStep(
                self._start + timedelta(seconds=index * self._step_s),
                self._step_s,
                round(self._sums[index] / fixes, 1),
                round(self._highest[index], 1),
            )
            for index, fixes in enumerate(self._fixes)
            if fixes
        ]
