"""Many units driving at a steady rate, on one thread.

Invariants: a unit starts to drive once the broker has accepted it for the first time, and measures from then
on whether it is connected or not. Ticks are spread over the period. A loop that falls behind measures less
often, with longer steps; it never makes up for lost ticks in a burst.
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from random import Random

from broker.connection import BrokerLogin
from local.simulator import driving
from local.simulator.network import Network
from local.simulator.tally import Left, SimulationTally
from local.simulator.units import Unit

REPORT_EVERY_S = 1.0
LONGEST_WAIT_S = 0.25
DRAIN_S = 2.0

log = logging.getLogger(__name__)


class Simulation:
    """`run` it once. ``say`` gets one line per second and a summary."""

    def __init__(
        self,
        logins: Sequence[BrokerLogin],
        rate_hz: float,
        say: Callable[[str], None],
        seed: int | None = None,
    ) -> None:
        self.tally = SimulationTally()
        self._rng = Random(seed)  # noqa: S311  # vans, not secrets
        self._period_s = 1.0 / rate_hz
        self._say = say
        self._network = Network()
        self.units = [self._unit(login) for login in logins]
        self._ticked_at = [0.0] * len(self.units)
        self._due: list[tuple[float, int]] = []
        self._started = self._reported = time.monotonic()

    def _unit(self, login: BrokerLogin) -> Unit:
        van = driving.new_van(driving.random_trip(self._rng), self._rng)
        # Start in the middle of trips: otherwise all vans would speed up and stop together.
        van = driving.advance(van, self._rng.uniform(0, van.trip.driving_s), self._rng)
        unit = Unit(login, van, self.tally, self._rng)
        self._network.add(unit.link)
        return unit

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        self._started = self._reported = started = time.monotonic()
        self._due = [
            (started + self._period_s * index / len(self.units), index) for index in range(len(self.units))
        ]
        self._ticked_at = [due for due, _ in self._due]
        try:
            while not stop.is_set() and (duration_s is None or time.monotonic() < started + duration_s):
                self._run_due()
            self._drain()
        finally:
            self._network.close()
            self._say(self._summary())

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._due[0][0] <= now:
            due, index = heapq.heappop(self._due)
            self._tick(index, now)
            heapq.heappush(self._due, (next_due(due, self._period_s, now), index))
        if now >= self._reported + REPORT_EVERY_S:
            self._report(now)
        wait_s = min(self._due[0][0], self._reported + REPORT_EVERY_S) - time.monotonic()
        self._network.loop(min(wait_s, LONGEST_WAIT_S))

    def _tick(self, index: int, now: float) -> None:
        unit = self.units[index]
        dt_s, self._ticked_at[index] = now - self._ticked_at[index], now
        if unit.was_ready:
            if unit.van.is_done:
                unit.van = driving.depart(unit.van, driving.next_trip(unit.van, self._rng))
            unit.tick(dt_s)

    def _report(self, now: float) -> None:
        for unit in self.units:
            unit.send()
        seconds, self._reported = now - self._reported, now
        self._say(self.tally.line(seconds, connected=self._connected(), left=self._left()))

    def _connected(self) -> str:
        ready = sum(unit.link.ready for unit in self.units)
        refused = sum(unit.link.refused for unit in self.units)
        text = f"{ready}/{len(self.units)}"
        if self._network.problem:
            return f"{text} (waiting: {self._network.problem})"
        if refused:
            return f"{text} (waiting: {refused} not known to the broker yet; the jobs process tells it)"
        return text

    def _drain(self) -> None:
        """Wait a moment for replies that are on their way."""
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end and any(unit.outgoing.unanswered for unit in self.units):
            self._network.loop(0.05)

    def _summary(self) -> str:
        return self.tally.summary(time.monotonic() - self._started, self._left())

    def _left(self) -> Left:
        return Left(
            unanswered=sum(unit.outgoing.unanswered for unit in self.units),
            waiting=sum(unit.outgoing.waiting for unit in self.units),
            in_tunnels=sum(unit.held for unit in self.units),
            dropped=sum(unit.outgoing.dropped for unit in self.units),
        )


def next_due(due: float, period_s: float, now: float) -> float:
    """Return a period after ``due`` or, if that has passed, after now: two ticks at once would be one fix."""
    return due + period_s if due + period_s > now else now + period_s
