"""One id per request and per WebSocket: taken from the client or made, logged, and sent back."""

import re
from secrets import token_hex

from starlette.types import Scope

from core.request_ids import CURRENT, LONGEST

HEADER = "X-Request-ID"
_NAME = HEADER.lower().encode()
# Other characters could forge fields or lines of the log.
PLAIN = rf"[A-Za-z0-9._-]{{1,{LONGEST}}}"
_is_plain = re.compile(PLAIN.encode()).fullmatch


def begin(scope: Scope) -> tuple[bytes, bytes]:
    """Give the request the id that its client sent if it is plain, else a new one; return its raw header."""
    request_id = dict(scope["headers"]).get(_NAME, b"")
    if not _is_plain(request_id):
        request_id = token_hex(8).encode()
    # Never reset: the server logs an unexpected error after the application has returned.
    CURRENT.set(request_id.decode())
    return _NAME, request_id


def headers() -> dict[str, str]:
    """Return the header for an answer that does not pass through `api.metrics.Measured`."""
    request_id = CURRENT.get()
    return {} if request_id is None else {HEADER: request_id}
