"""Logging set-up: one line an event, as key=value text or JSON, always to standard error."""

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
    """False for uvicorn's line about a WebSocket handshake: it holds the query, where a token may stand."""
    return record.levelno > logging.INFO or '"WebSocket ' not in str(record.msg)


def configure(process: str, level: str = "INFO", style: Literal["text", "json"] = "text") -> None:
    """Send every logger's lines to standard error, the process's name in each."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(is_no_handshake)
    # APScheduler and uvicorn tell of every run and request; our own lines say what matters.
    for noisy in ("apscheduler", "uvicorn.access", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
