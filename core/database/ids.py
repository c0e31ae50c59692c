"""SQL conditions on lists of ids."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Integer, any_, literal


def is_any_of(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``ids``."""
    # An array parameter keeps the statement the same for any number of ids, so that it is cached once.
    found: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Integer)))
    return found
