"""Bound the logs of running processes, which append to an open file and never reopen it.

A large log is copied and then truncated: with O_APPEND its writers continue at its new end. Lines written
between the copy and the truncation are lost; after a rename, all later ones would be missing in the file that
we show.
"""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

LARGE_LOG_BYTES = 10_000_000
GENERATIONS = 3
PIECE_BYTES = 1024 * 1024


def rotate_if_large(log: Path, limit_bytes: int = LARGE_LOG_BYTES) -> bool:
    """Move a log above ``limit_bytes`` to ``.1``, ``.1`` to ``.2``, ...; return whether it was moved.

    The log is truncated even when the disk is too full to copy it. Raises `OSError`.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    generations = [log.with_name(f"{log.name}.{number}") for number in range(1, GENERATIONS + 1)]
    try:
        # The oldest generation goes first: on a full disk the copy needs its space.
        generations[-1].unlink(missing_ok=True)
        for newer, older in reversed(list(pairwise(generations))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        _copy_end(log, generations[0], 2 * limit_bytes)
    finally:
        os.truncate(log, 0)
    return True


def _copy_end(log: Path, copy: Path, at_most_bytes: int) -> None:
    """Copy the newest lines; a log may have grown far beyond its limit before it was checked."""
    handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with log.open("rb") as source, open(handle, "wb") as target:
        source.seek(max(0, log.stat().st_size - at_most_bytes))
        # Bounded by a count, not by the file's size a moment ago: the writer may be faster than this copy.
        while at_most_bytes > 0 and (piece := source.read(min(at_most_bytes, PIECE_BYTES))):
            target.write(piece)
            at_most_bytes -= len(piece)
