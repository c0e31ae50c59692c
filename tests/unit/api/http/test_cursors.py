"""Cursors are opaque, and only ours are taken."""

import pytest

from api.http import cursors
from core.errors import InvalidValue


@pytest.mark.parametrize("key", [1, 2**63 - 1])
def test_number_survives_its_cursor(key: int) -> None:
    assert cursors.number_key(cursors.encode(key)) == key


def test_device_id_survives_its_cursor() -> None:
    assert cursors.text_key(cursors.encode("k3v9x0q2ma")) == "k3v9x0q2ma"


@pytest.mark.parametrize(
    "cursor", ["", "!", "é", "\ud800", cursors.encode("a b"), cursors.encode("-1"), cursors.encode(2**63)]
)
def test_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidValue):
        cursors.number_key(cursor)


def test_full_page_has_a_next_only_when_there_is_more() -> None:
    assert cursors.cut([1, 2], 2, lambda row: row) == ([1, 2], None)
    assert cursors.cut([1, 2, 3], 2, lambda row: row) == ([1, 2], cursors.encode(2))
