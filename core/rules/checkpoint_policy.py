"""The checkpoint policy, which selects the fixes that become checkpoints of a delivery. Pure.

Fixes are passed in ``fix_time`` order, so that a backfill of 500 fixes gives the same checkpoints as 500 live
ones.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from core.rules.fix import Fix
from core.rules.geo import distance_m


class CheckpointPolicy(msgspec.Struct, frozen=True):
    """A company's settings. If either is zero, every fix becomes a checkpoint."""

    distance_m: float = 250.0
    interval_s: float = 60.0


class LastCheckpoint(msgspec.Struct, frozen=True):
    """The last location checkpoint of one delivery."""

    time: datetime
    latitude: float
    longitude: float


def is_due(policy: CheckpointPolicy, last: LastCheckpoint | None, fix: Fix) -> bool:
    """Return whether the vehicle moved far enough, or enough time passed, since the last checkpoint."""
    if last is None:
        return True
    elapsed_s = (fix.fix_time - last.time).total_seconds()
    if elapsed_s < 0:
        return False
    if elapsed_s >= policy.interval_s or policy.distance_m == 0:
        return True
    return distance_m(last.latitude, last.longitude, fix.latitude, fix.longitude) >= policy.distance_m


def location_checkpoints(
    policy: CheckpointPolicy,
    since: datetime,
    last: LastCheckpoint | None,
    fixes: Iterable[Fix],
) -> list[Fix]:
    """Return the fixes that become checkpoints.

    ``fixes`` are in ``fix_time`` order; those before ``since`` are ignored.
    """
    chosen = []
    for fix in fixes:
        if fix.fix_time >= since and is_due(policy, last, fix):
            chosen.append(fix)
            last = LastCheckpoint(fix.fix_time, fix.latitude, fix.longitude)
    return chosen
