"""Table headings for the templates."""

from typing import Any


def headings(*names: str) -> list[dict[str, str]]:
    """Return the headings: ``n:Time`` heads a column of numbers, ``t:From`` one of times, which do not wrap.

    ``w:Reason`` heads users' text: it may wrap anywhere, so that the other columns keep their width.
    """
    pairs = [name.partition(":") if name[1:2] == ":" else ("", "", name) for name in names]
    return [{"kind": kind, "name": name} for kind, _, name in pairs]


def row(*cells: str, is_moment: bool = False) -> dict[str, Any]:
    return {"cells": cells, "is_moment": is_moment}
