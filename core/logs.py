"""Logging set-up: one line per event, as key=value text or JSON, always to standard error."""

import json
import logging
import sys
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
