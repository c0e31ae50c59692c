"""Conditions on any number of ids."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Integer, any_, literal


def is_any_of(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """One statement for any number of ids, so that it is planned and cached once."""
    found: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Integer)))
    return found
