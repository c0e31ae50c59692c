"""When a standby takes a lease for ended, and when a leader takes its own for lost: by monotonic clocks."""

import threading
import time
from unittest.mock import Mock

import pytest

from core.health.leader import LEASE_S
from jobs.leadership import LONGEST_GAP_S, Standby, Term


def looks(standby: Standby, lease: str, *at: float) -> list[bool]:
    return [standby.has_ended(lease, moment) for moment in at]


def test_an_unchanged_lease_ends_after_its_time() -> None:
    standby = Standby()
    moments = [100.0 + second for second in range(int(LEASE_S) + 1)]
    assert looks(standby, "a", *moments) == [False] * int(LEASE_S) + [True]


def test_a_renewed_lease_does_not_end() -> None:
    standby = Standby()
    seen = [standby.has_ended(second // 3, float(second)) for second in range(60)]
    assert not any(seen)


def test_a_database_clock_set_back_changes_nothing() -> None:
    standby = Standby()
    assert not standby.has_ended("12:00", 0.0)
    assert not any(looks(standby, "11:00", *range(1, 15)))
    assert standby.has_ended("11:00", 1 + LEASE_S)


def test_a_standby_that_was_frozen_itself_looks_anew() -> None:
    standby = Standby()
    assert not any(looks(standby, "a", 0.0, 1.0, 2.0 + LONGEST_GAP_S + LEASE_S))
    assert not any(looks(standby, "a", 24.0, 26.0))


def test_it_looks_anew_after_an_attempt() -> None:
    standby = Standby()
    assert looks(standby, "a", *range(16))[-1]
    standby.restart()
    assert not standby.has_ended("a", 17.0)


def test_a_term_is_over_when_its_lease_was_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    term = Term(Mock(), 1, threading.Event(), time.monotonic())
    assert not term.is_set()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LEASE_S)
    assert term.is_set()
    assert term.is_lost


def test_a_stop_ends_a_term_without_losing_it() -> None:
    stop = threading.Event()
    term = Term(Mock(), 1, stop, time.monotonic())
    stop.set()
    assert term.is_set()
    assert not term.is_lost
