"""A trip's timetable: the van's place and speed at any second after its start. Pure.

The speed profile is planned whole before the van starts (limits, corners, red lights, braking in time), so a
place depends on the time alone: any step, and any number of them, gives the same drive.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from random import Random

from local.simulator.routes import Route

SPEED_UP_MPS2 = 1.5
SLOW_DOWN_MPS2 = 2.0
RED_LIGHT_SHARE = 0.35
RED_LIGHT_S = (6.0, 40.0)
TRAFFIC = (0.7, 1.0)


@dataclass(frozen=True)
class TripPhase:
    """Driving with one acceleration, from ``start_s`` seconds and ``start_m`` metres after the start."""

    start_s: float
    start_m: float
    speed_mps: float
    acceleration_mps2: float

    def at(self, elapsed_s: float) -> tuple[float, float]:
        """Return metres from the start, and metres per second."""
        seconds = elapsed_s - self.start_s
        speed_mps = self.speed_mps + self.acceleration_mps2 * seconds
        return self.start_m + (self.speed_mps + speed_mps) / 2 * seconds, max(0.0, speed_mps)


@dataclass(frozen=True)
class Trip:
    """``driving_s`` until the van stands at the end, with its engine off until ``duration_s``."""

    route: Route
    phases: tuple[TripPhase, ...]
    starts_s: tuple[float, ...]
    driving_s: float
    duration_s: float

    def at(self, elapsed_s: float) -> tuple[float, float]:
        """Return metres from the start, and metres per second; the end after ``driving_s``."""
        if elapsed_s >= self.driving_s:
            return self.route.length_m, 0.0
        return self.phases[bisect_right(self.starts_s, elapsed_s) - 1].at(elapsed_s)


@dataclass(frozen=True)
class _Stretch:
    """A part of the route with one limit; the van stands ``halt_s`` seconds at its end."""

    length_m: float
    limit_mps: float
    halt_s: float = 0.0
    stop: bool = False


def plan(route: Route, rng: Random, parked_s: float = 0.0) -> Trip:
    """Plan a drive over the route from standstill to standstill, through today's traffic and lights."""
    stretches = _stretches(route, _red_lights(route, rng), rng)
    speeds = _speeds_between(stretches)
    phases: list[TripPhase] = []
    now_s, now_m = 0.0, 0.0
    for stretch, (enter_mps, leave_mps) in zip(stretches, pairwise(speeds), strict=True):
        now_s = _drive(phases, now_s, now_m, stretch, enter_mps, leave_mps)
        now_m += stretch.length_m
        if stretch.halt_s:
            phases.append(TripPhase(now_s, now_m, 0.0, 0.0))
            now_s += stretch.halt_s
    return Trip(route, tuple(phases), tuple(phase.start_s for phase in phases), now_s, now_s + parked_s)


def _red_lights(route: Route, rng: Random) -> dict[float, float]:
    """Return where the van must wait at red lights, and how many seconds."""
    return {at_m: rng.uniform(*RED_LIGHT_S) for at_m in route.stop_lines_m if rng.random() < RED_LIGHT_SHARE}


def _stretches(route: Route, red_lights: dict[float, float], rng: Random) -> list[_Stretch]:
    stretches = []
    for piece in route.pieces:
        limit_mps = piece.limit_mps * rng.uniform(*TRAFFIC)
        start_m, end_m = piece.start_m, piece.start_m + piece.length_m
        for at_m in sorted(light for light in red_lights if start_m < light <= end_m):
            stretches.append(_Stretch(at_m - start_m, limit_mps, red_lights[at_m], stop=True))
            start_m = at_m
        if end_m > start_m:
            stretches.append(_Stretch(end_m - start_m, limit_mps))
    return stretches


def _speeds_between(stretches: Sequence[_Stretch]) -> list[float]:
    """Return the speed at each stretch's start and the last one's end: reachable, and low enough to brake."""
    speeds = [0.0]
    for before, after in pairwise(stretches):
        speeds.append(0.0 if before.stop else min(before.limit_mps, after.limit_mps))
    speeds.append(0.0)
    for index in range(len(stretches) - 1, -1, -1):
        braking = sqrt(speeds[index + 1] ** 2 + 2 * SLOW_DOWN_MPS2 * stretches[index].length_m)
        speeds[index] = min(speeds[index], braking)
    for index, stretch in enumerate(stretches):
        reached = sqrt(speeds[index] ** 2 + 2 * SPEED_UP_MPS2 * stretch.length_m)
        speeds[index + 1] = min(speeds[index + 1], reached)
    return speeds


def _drive(
    phases: list[TripPhase], now_s: float, now_m: float, stretch: _Stretch, enter_mps: float, leave_mps: float
) -> float:
    """Add this stretch's phases: accelerate, cruise, brake. Return the second at which it ends."""
    up, down = SPEED_UP_MPS2, SLOW_DOWN_MPS2
    top_squared = (2 * up * down * stretch.length_m + down * enter_mps**2 + up * leave_mps**2) / (up + down)
    top_mps = max(enter_mps, leave_mps, min(stretch.limit_mps, sqrt(top_squared)))
    up_m = (top_mps**2 - enter_mps**2) / (2 * up)
    down_m = (top_mps**2 - leave_mps**2) / (2 * down)
    cruise_m = max(0.0, stretch.length_m - up_m - down_m)
    parts = (
        ((top_mps - enter_mps) / up, up_m, enter_mps, up),
        (cruise_m / top_mps, cruise_m, top_mps, 0.0),
        ((top_mps - leave_mps) / down, down_m, top_mps, -down),
    )
    for seconds, metres, speed_mps, acceleration_mps2 in parts:
        if seconds > 0:
            phases.append(TripPhase(now_s, now_m, speed_mps, acceleration_mps2))
            now_s, now_m = now_s + seconds, now_m + metres
    return now_s
