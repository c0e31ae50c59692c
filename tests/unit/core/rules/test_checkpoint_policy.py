"""Which fixes become checkpoints."""

from datetime import UTC, datetime, timedelta

from core.rules.checkpoint_policy import CheckpointPolicy, LastCheckpoint, location_checkpoints
from core.rules.fix import Fix

START = datetime(2026, 1, 31, 23, 59, 0, tzinfo=UTC)
DEGREES_PER_M = 1 / 111_195  # of latitude
POLICY = CheckpointPolicy(distance_m=250, interval_s=60)


def fix(seconds: float, metres: float = 0.0) -> Fix:
    return Fix(fix_time=START + timedelta(seconds=seconds), latitude=metres * DEGREES_PER_M, longitude=5.0)


def seconds_of(fixes: list[Fix]) -> list[float]:
    return [(chosen.fix_time - START).total_seconds() for chosen in fixes]


def test_the_first_fix_is_a_checkpoint() -> None:
    assert seconds_of(location_checkpoints(POLICY, START, None, [fix(1), fix(2)])) == [1]


def test_a_standing_van_makes_one_a_minute() -> None:
    fixes = [fix(second) for second in range(0, 200, 10)]
    assert seconds_of(location_checkpoints(POLICY, START, None, fixes)) == [0, 60, 120, 180]


def test_a_moving_van_makes_one_each_250_metres() -> None:
    fixes = [fix(second, metres=second * 100.0) for second in range(10)]
    assert seconds_of(location_checkpoints(POLICY, START, None, fixes)) == [0, 3, 6, 9]


def test_zero_means_every_fix() -> None:
    fixes = [fix(second) for second in range(5)]
    for policy in (CheckpointPolicy(0, 60), CheckpointPolicy(250, 0)):
        assert seconds_of(location_checkpoints(policy, START, None, fixes)) == [0, 1, 2, 3, 4]


def test_fixes_before_the_delivery_make_none() -> None:
    assert seconds_of(location_checkpoints(POLICY, START, None, [fix(-1), fix(10)])) == [10]


def test_a_fix_older_than_the_last_checkpoint_makes_none() -> None:
    last = LastCheckpoint(START + timedelta(seconds=100), 0.0, 5.0)
    fixes = [fix(50, metres=9000), fix(99, metres=9000), fix(161)]
    assert seconds_of(location_checkpoints(POLICY, START, last, fixes)) == [161]


def test_a_backlog_gives_the_same_as_one_at_a_time() -> None:
    fixes = [fix(second * 7, metres=(second * 37) % 900) for second in range(500)]
    at_once = location_checkpoints(POLICY, START, None, fixes)
    last, one_by_one = None, []
    for single in fixes:
        chosen = location_checkpoints(POLICY, START, last, [single])
        if chosen:
            last = LastCheckpoint(chosen[-1].fix_time, chosen[-1].latitude, chosen[-1].longitude)
        one_by_one += chosen
    assert at_once == one_by_one
    assert 0 < len(at_once) < len(fixes)
