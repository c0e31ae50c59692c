"""Which cases of a parametrised test run in `make test`: the first; `make test-all` runs the others too."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_now(cases: Iterable[Any]) -> list[Any]:
    """Mark all cases but the first as slow."""
    first, *others = cases
    return [first, *(pytest.param(*as_values(case), marks=pytest.mark.slow) for case in others)]


def as_values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
