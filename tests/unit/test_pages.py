"""Cursors are opaque, and only ours are taken."""

import pytest

from api import pages
from core.errors import InvalidValue


@pytest.mark.parametrize("key", [1, 2**63 - 1])
def test_number_survives_its_cursor(key: int) -> None:
    assert pages.number_key(pages.encode(key)) == key


def test_device_id_survives_its_cursor() -> None:
    assert pages.text_key(pages.encode("k3v9x0q2ma")) == "k3v9x0q2ma"


@pytest.mark.parametrize(
    "cursor", ["", "!", "é", "\ud800", pages.encode("a b"), pages.encode("-1"), pages.encode(2**63)]
)
def test_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidValue):
        pages.number_key(cursor)


def test_full_page_has_a_next_only_when_there_is_more() -> None:
    assert pages.cut([1, 2], 2, lambda row: row) == ([1, 2], None)
    assert pages.cut([1, 2, 3], 2, lambda row: row) == ([1, 2], pages.encode(2))
