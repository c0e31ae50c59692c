"""Render a report in the format that the client asks for: JSON, a self-contained HTML page, or PDF."""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.content.renderings import Renderings
from api.dependencies import Authorized
from api.gate import Holder
from api.http.negotiation import NotAcceptable, best
from reports.pages import templates

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class DocumentFormat(enum.StrEnum):
    """The value is also the file name's extension."""

    JSON = "json"
    HTML = "html"
    PDF = "pdf"


MEDIA_TYPES: Mapping[str, DocumentFormat] = {
    "application/json": DocumentFormat.JSON,
    "text/html": DocumentFormat.HTML,
    "application/pdf": DocumentFormat.PDF,
}
# Reports hold personal data, so no proxy may cache them.
PRIVATE = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Authorization",
}


def asked(accept: str | None, chosen: DocumentFormat | None) -> DocumentFormat:
    """Return the format to render; ``?format=`` wins over ``Accept``. Raises `NotAcceptable`."""
    return chosen or MEDIA_TYPES[best(accept, list(MEDIA_TYPES))]


def answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the responses that the OpenAPI document declares for such a route."""
    return {
        200: {
            "model": model,
            "description": "The report, in the format asked for",
            "content": {
                "text/html": {"schema": {"type": "string"}, "example": "<!DOCTYPE html>…"},
                "application/pdf": {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.7…"},
            },
        },
        NotAcceptable.status_code: {"description": NotAcceptable.title},
    }


async def answer(
    authorized: Authorized, name: DocumentFormat, write: Callable[[], str], file_name: str
) -> Response:
    """Render the report. ``write`` returns the JSON or HTML text.

    ``write`` runs in a thread and must have closed its transaction.
    """
    renderings: Renderings = authorized.request.app.state.renderings
    holder = Holder.of(await run_in_threadpool(authorized.require_known))
    headers = PRIVATE | {"Content-Disposition": f'inline; filename="{_plain(file_name)}.{name}"'}
    if name is DocumentFormat.PDF:
        return Response(await renderings.pdf(holder, write), media_type="application/pdf", headers=headers)
    text = await renderings.text(holder, write)
    if name is DocumentFormat.JSON:
        return Response(text, media_type="application/json", headers=headers)
    # The page runs no scripts and may not be framed.
    policy = {"Content-Security-Policy": templates.content_security_policy()}
    return Response(text, media_type="text/html", headers=headers | policy)


def _plain(name: str) -> str:
    """Return a file name that is safe on every system."""
    return _UNSAFE.sub("-", name).strip("-.")[:80] or "report"
