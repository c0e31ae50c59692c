"""A report in the format its reader asked for: JSON, a page that stands alone, or a PDF."""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.content.admission import Holder
from api.content.renderings import Renderings
from api.dependencies import Authorized
from api.http.negotiation import NotAcceptable, best
from reports.pages import templates

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class DocumentFormat(enum.StrEnum):
    """Also the ending of a file's name."""

    JSON = "json"
    HTML = "html"
    PDF = "pdf"


MEDIA_TYPES: Mapping[str, DocumentFormat] = {
    "application/json": DocumentFormat.JSON,
    "text/html": DocumentFormat.HTML,
    "application/pdf": DocumentFormat.PDF,
}
# Personal data: no proxy keeps it, and a page of ours does nothing and is framed by nobody.
PRIVATE = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Authorization",
}


def asked(accept: str | None, chosen: DocumentFormat | None) -> DocumentFormat:
    """``?format=`` wins over ``Accept``. Raises `NotAcceptable`."""
    return chosen or MEDIA_TYPES[best(accept, list(MEDIA_TYPES))]


def answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of such a route."""
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
    """``write`` gives the JSON or the page; it runs in a thread, and must have closed its transaction."""
    renderings: Renderings = authorized.request.app.state.renderings
    holder = Holder.of(await run_in_threadpool(authorized.require_known))
    headers = PRIVATE | {"Content-Disposition": f'inline; filename="{_plain(file_name)}.{name}"'}
    if name is DocumentFormat.PDF:
        return Response(await renderings.pdf(holder, write), media_type="application/pdf", headers=headers)
    text = await renderings.text(holder, write)
    if name is DocumentFormat.JSON:
        return Response(text, media_type="application/json", headers=headers)
    policy = {"Content-Security-Policy": templates.content_security_policy()}
    return Response(text, media_type="text/html", headers=headers | policy)


def _plain(name: str) -> str:
    """What every system takes as a file's name."""
    return _UNSAFE.sub("-", name).strip("-.")[:80] or "report"
