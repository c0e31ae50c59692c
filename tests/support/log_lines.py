"""What the process under test logs, as JSON lines."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core.logs import JsonFormatter

Line = dict[str, Any]


@contextmanager
def json_lines(logger: str = "") -> Iterator[Callable[[], list[Line]]]:
    """Yield a function that returns the lines so far of the logger and all below it, INFO and above."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonFormatter("test"))
    target = logging.getLogger(logger)
    level = target.level
    target.addHandler(handler)
    target.setLevel(logging.INFO)
    try:
        yield lambda: [json.loads(line) for line in output.getvalue().splitlines()]
    finally:
        target.removeHandler(handler)
        target.setLevel(level)
