"""Bounds the logs of running processes, which append to an open file and are never told to open another.

A large log is copied aside and then emptied: with O_APPEND its writers go on at its new end. Lines written
between the copy and the emptying are lost; a rename would lose all later ones from the file we show.
"""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

LARGE_LOG_BYTES = 10_000_000
GENERATIONS = 3
PIECE_BYTES = 1024 * 1024


def rotate_if_large(log: Path, limit_bytes: int = LARGE_LOG_BYTES) -> bool:
    """Empty a log above ``limit_bytes`` into ``.1``, after ``.1`` became ``.2``, ...; return whether it was.

    The log is emptied even when the disk is too full to copy it. Raises `OSError`.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    generations = [log.with_name(f"{log.name}.{number}") for number in range(1, GENERATIONS + 1)]
    try:
        # The oldest goes first: on a full disk the copy needs its room.
        generations[-1].unlink(missing_ok=True)
        for newer, older in reversed(list(pairwise(generations))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        _copy_end(log, generations[0], 2 * limit_bytes)
    finally:
        os.truncate(log, 0)
    return True


def _copy_end(log: Path, copy: Path, at_most_bytes: int) -> None:
    """Copy the newest lines; a log may have grown far beyond its limit before it was looked at."""
    handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with log.open("rb") as source, open(handle, "wb") as target:
        source.seek(max(0, log.stat().st_size - at_most_bytes))
        # Bounded, for the writer may be faster than we are; but not by the size of just now.
        while at_most_bytes > 0 and (piece := source.read(min(at_most_bytes, PIECE_BYTES))):
            target.write(piece)
            at_most_bytes -= len(piece)
