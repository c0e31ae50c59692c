"""Logging: one line per event, as key=value text or JSON, always to standard error; lasting states once.

A call names its fields once, in its message: `log.info("refused path=%s", path)`. The text line is the
message; the JSON line also has ``path`` as a typed field, from the template and its arguments.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Literal, NamedTuple

from core import request_ids

_CONVERSION = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa%]")
_FIELD = re.compile(r"(?<!\S)([a-z][a-z0-9_]*)=('[^']*'|\S+)")


class _Field(NamedTuple):
    """A field of a template: its value, and which of the record's arguments the value takes."""

    key: str
    value: str
    taken: slice


class JsonFormatter(logging.Formatter):
    """One JSON object per line. ``event`` is the whole message, ``fields`` are its key=value pairs, typed."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if fields := _fields(record):
            line["fields"] = fields
        if request_id := request_ids.CURRENT.get():
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of the record's message, with numbers as numbers and text without its quotes."""
    template, arguments = str(record.msg), record.args or ()
    if not isinstance(arguments, tuple):
        return {}
    if not arguments:  # then logging itself does not format
        return {key: value.strip("'") for key, value in _FIELD.findall(template)}
    return {field.key: _value(field, arguments[field.taken]) for field in _fields_of(template)}


@lru_cache(maxsize=500)
def _fields_of(template: str) -> Sequence[_Field]:
    found = []
    for match in _FIELD.finditer(template):
        first, last = (_count_arguments(template[: match.end(group)]) for group in (1, 2))
        found.append(_Field(match[1], match[2].strip("'"), slice(first, last)))
    return found


def _count_arguments(template: str) -> int:
    return sum(conversion != "%%" for conversion in _CONVERSION.findall(template))


def _value(field: _Field, arguments: tuple[object, ...]) -> object:
    if not _CONVERSION.fullmatch(field.value):
        return field.value % arguments
    value = arguments[0]
    # JSON has no NaN and no infinity.
    is_plain = value is None or isinstance(value, int | str) or (isinstance(value, float) and isfinite(value))
    return value if is_plain else str(value)


def add_request(record: logging.LogRecord) -> bool:
    """Give the record the end of a line of text: the request's id, if it belongs to one."""
    request_id = request_ids.CURRENT.get()
    record.request = "" if request_id is None else f" request_id={request_id}"
    return True


def is_no_handshake(record: logging.LogRecord) -> bool:
    """Return False for uvicorn's line about a WebSocket handshake, to drop it from the log."""
    # The line contains the query string, in which there may be a token.
    return record.levelno > logging.INFO or '"WebSocket ' not in str(record.msg)


def configure(process: str, level: str = "INFO", style: Literal["text", "json"] = "text") -> None:
    """Send the lines of all loggers to standard error, with the process's name and the request's id."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        text = f"%(asctime)s %(levelname)s {process} %(name)s %(message)s%(request)s"
        handler.addFilter(add_request)
        handler.setFormatter(logging.Formatter(text))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(is_no_handshake)
    # APScheduler and uvicorn log every run and request, which our own lines summarize.
    for noisy in ("apscheduler", "uvicorn.access", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@dataclass
class _State:
    since: float
    reason: str | None = None  # as logged


class LoggedStates:
    """States to be logged once, when they begin, change or end, and not at each attempt that meets them.

    ``after_s``: a state that ends sooner is not logged. ``at``: seconds by any clock, the same for all calls.
    Threads may share it.
    """

    def __init__(self, after_s: float = 0.0) -> None:
        self._after_s = after_s
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}

    def begin(self, name: str, reason: str, at: float) -> float | None:
        """Record that the state holds; return since how many seconds, or None if it needs no log line."""
        with self._lock:
            state = self._states.setdefault(name, _State(at))
            if state.reason == reason or at - state.since < self._after_s:
                return None
            state.reason = reason
            return at - state.since

    def end(self, name: str, at: float) -> float | None:
        """Record that the state is over; return how many seconds it lasted, or None if it was not logged."""
        with self._lock:
            state = self._states.pop(name, None)
        return at - state.since if state is not None and state.reason is not None else None

    def logged_reason(self, name: str) -> str | None:
        """Return the reason that was logged last for a state that holds."""
        state = self._states.get(name)
        return state.reason if state is not None else None
