"""Logging: one line per event, as key=value text or JSON, always to standard error; lasting states once."""

import json
import logging
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def is_no_handshake(record: logging.LogRecord) -> bool:
    """Return False for uvicorn's line about a WebSocket handshake, to drop it from the log."""
    # The line contains the query string, in which there may be a token.
    return record.levelno > logging.INFO or '"WebSocket ' not in str(record.msg)


def configure(process: str, level: str = "INFO", style: Literal["text", "json"] = "text") -> None:
    """Send the lines of all loggers to standard error, with the process's name in the text format."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s %(message)s"))
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
