"""A state that lasts is logged once."""

from core.logs import LoggedStates


def test_a_state_is_logged_once_until_its_reason_changes() -> None:
    states = LoggedStates()
    assert states.begin("away", "refused", at=1) == 0
    assert states.begin("away", "refused", at=2) is None
    assert states.begin("away", "unreachable", at=4) == 3
    assert states.logged_reason("away") == "unreachable"


def test_its_end_is_logged_with_how_long_it_lasted() -> None:
    states = LoggedStates()
    states.begin("away", "refused", at=1)
    assert states.end("away", at=8) == 7
    assert states.end("away", at=9) is None
    assert states.begin("away", "refused", at=10) == 0


def test_a_state_that_ends_soon_is_not_logged() -> None:
    states = LoggedStates(after_s=10)
    assert states.begin("away", "refused", at=0) is None
    assert states.begin("away", "refused", at=9) is None
    assert states.end("away", at=9.5) is None


def test_a_state_that_lasts_is_logged_late_with_its_length() -> None:
    states = LoggedStates(after_s=10)
    states.begin("away", "refused", at=0)
    assert states.begin("away", "unreachable", at=12) == 12
    assert states.end("away", at=15) == 15


def test_states_do_not_hide_one_another() -> None:
    states = LoggedStates()
    states.begin("away", "refused", at=0)
    assert states.begin("full", "refused", at=1) == 0
    assert states.end("away", at=2) == 2
