"""Cross-origin resource sharing: pages of listed origins may read the API. Off unless origins are set."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.request_ids import HEADER

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", HEADER)
RESPONSE_HEADERS = ("ETag", "Location", "Retry-After", "Idempotency-Replayed", "Content-Disposition", HEADER)


def install(app: FastAPI, origins: Sequence[str]) -> None:
    """Add the middleware. Call it last: every answer of the others must carry the headers, errors too."""
    if origins:
        # No credentials: no cookie or client certificate of a browser ever authenticates a request here.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            allow_credentials=False,
            max_age=600,
        )
