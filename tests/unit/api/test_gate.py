"""The gate before costly work: slots and shares."""

import pytest

from api.gate import Gate, Holder
from core.errors import DomainError


class Full(DomainError):
    def __init__(self) -> None:
        super().__init__("Full.")


def test_refusal_is_the_error_that_its_use_names() -> None:
    gate = Gate(Full, slots=1)
    with gate.slot():
        with pytest.raises(Full), gate.slot():
            raise AssertionError("admitted")
        assert gate.free == 0
    assert gate.free == 1


def test_slot_is_free_again_after_an_error() -> None:
    gate = Gate(Full, slots=1, per_company=1)
    with pytest.raises(ValueError, match="work"), gate.slot(Holder(1, "user:1")):
        raise ValueError("work")
    with gate.slot(Holder(1, "user:1")):
        assert gate.free == 0


def test_shares_of_a_company_and_of_a_holder() -> None:
    gate = Gate(Full, slots=9, per_company=2, per_holder=1)
    one, other = Holder(1, "user:1"), Holder(1, "user:2")
    with gate.slot(one):
        with pytest.raises(Full), gate.slot(one):
            raise AssertionError("admitted")
        with gate.slot(other):
            with pytest.raises(Full), gate.slot(Holder(1, "user:3")):
                raise AssertionError("admitted")
            with gate.slot(Holder(2, "user:4")), gate.slot():
                assert gate.free == 5
