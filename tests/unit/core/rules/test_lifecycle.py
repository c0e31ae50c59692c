"""Which status may follow which."""

import pytest

from core.errors import InvalidTransition
from core.rules.enums import Status
from core.rules.lifecycle import FINAL, TRANSITIONS, UNDER_WAY, allowed_from, require_transition

P, U, T, D, R, F = Status  # pending, pickup_in_progress, in_transit, delivered, returned, failed
ALLOWED = {(P, U), (P, F), (U, T), (U, F), (T, D), (T, R), (T, F)}


@pytest.mark.parametrize("current", list(Status))
@pytest.mark.parametrize("requested", list(Status))
def test_exactly_the_documented_transitions_are_allowed(current: Status, requested: Status) -> None:
    if (current, requested) in ALLOWED:
        require_transition(current, requested)
        return
    with pytest.raises(InvalidTransition) as refused:
        require_transition(current, requested)
    assert refused.value.facts == {
        "current": current.value,
        "requested": requested.value,
        "allowed": [status.value for status in allowed_from(current)],
    }


def test_every_status_has_its_place() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert {D, R, F} == FINAL
    assert {U, T} == UNDER_WAY
