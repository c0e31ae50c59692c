"""What the templates' tables are made of."""

from typing import Any


def headings(*names: str) -> list[dict[str, str]]:
    """``n:Time`` is a column of numbers, ``t:From`` one of times, which are not broken.

    ``w:Reason`` holds people's words: broken anywhere if need be, so that the other columns keep their width.
    """
    pairs = [name.partition(":") if name[1:2] == ":" else ("", "", name) for name in names]
    return [{"kind": kind, "name": name} for kind, _, name in pairs]


def row(*cells: str, is_moment: bool = False) -> dict[str, Any]:
    return {"cells": cells, "is_moment": is_moment}
