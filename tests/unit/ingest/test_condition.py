"""What ingest's loop says of itself: the worst that is known, and nothing for longer than it holds."""

import time

import pytest

from core.health.heartbeats import PartState
from ingest.condition import FAULT_LASTS_S, STUCK_AFTER_S, Condition, ShardView

ON = ShardView("0", None)
OFF = ShardView("1", "the broker cannot be reached")


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def condition(clock: FakeClock) -> Condition:
    return Condition()


def states(condition: Condition) -> list[str]:
    return [beat.state for beat in condition.beats([ON, OFF])]


def test_each_shard_says_whether_it_is_on_the_broker(condition: Condition) -> None:
    assert states(condition) == [PartState.OK, PartState.OFF_BROKER]
    assert condition.beats([OFF])[0].detail == OFF.fault


def test_a_failed_store_counts_until_the_next_one_succeeds(condition: Condition) -> None:
    condition.record_fault("DiskFull 53100")
    assert states(condition) == [PartState.CANNOT_STORE] * 2
    assert condition.beats([ON])[0].worked_at is None
    condition.record_stored()
    assert states(condition) == [PartState.OK, PartState.OFF_BROKER]
    assert condition.beats([ON])[0].worked_at is not None


def test_an_old_fault_is_no_claim_about_now(condition: Condition, clock: FakeClock) -> None:
    condition.record_fault("DiskFull 53100")
    clock.now += FAULT_LASTS_S
    condition.record_loop()
    assert states(condition) == [PartState.OK, PartState.OFF_BROKER]


def test_a_loop_that_does_not_run_is_stuck(condition: Condition, clock: FakeClock) -> None:
    clock.now += STUCK_AFTER_S + 1
    assert states(condition) == [PartState.STUCK, PartState.OFF_BROKER]
    condition.record_loop()
    assert states(condition)[0] == PartState.OK
