"""Render every error as ``application/problem+json`` (RFC 9457), with our ``error`` name and its facts."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import psycopg2
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api import request_ids
from core.database import partitions
from core.database.errors import DatabaseFault, classify, sqlstate
from core.errors import DomainError, NotFound

MEDIA_TYPE = "application/problem+json"
MAXIMUM_ERRORS = 50
RETRY_SOON_S = 1
RETRY_LATER_S = 5
_NAMES = {404: "NotFound", 413: "BodyTooLarge", 405: "MethodNotAllowed", 400: "BadRequest"}
log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for error in (DBAPIError, PoolTimeout, psycopg2.Error):
        app.add_exception_handler(error, _database_error)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int,
    name: str,
    title: str,
    detail: str,
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {
        "type": f"/problems/{name}",
        "title": title,
        "status": status,
        "detail": detail,
        "error": name,
        **(facts or {}),
    }
    # ASCII: a field's name in an error may hold text that UTF-8 cannot encode (lone surrogates).
    content = json.dumps(body, default=str).encode()
    return Response(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def render(error: DomainError) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == HTTPStatus.UNAUTHORIZED else {}
    if "retry_after_s" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after_s"])
    return problem(error.status_code, error.name, error.title, error.detail, error.facts, headers)


async def _domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    log.info("refused method=%s path=%s error=%s", request.method, request.url.path, error.name)
    return render(error)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found: Sequence[Mapping[str, Any]] = error.errors()
    if any(one["loc"][0] == "path" for one in found):
        return render(NotFound())
    errors = [_field_error(one) for one in found[:MAXIMUM_ERRORS]]
    return problem(422, "InvalidValue", "A value cannot be used", "See errors.", {"errors": errors})


def _field_error(error: Mapping[str, Any]) -> dict[str, str]:
    where, *path = error["loc"]
    if where == "query":
        path = path[:1]  # a repeated parameter is one field, whichever of its values is wrong
    is_syntax = error["type"] == "json_invalid" or not path
    field = where if is_syntax else ".".join(str(part) for part in path)
    message = "is not valid JSON" if error["type"] == "json_invalid" else str(error["msg"])
    return {"field": _printable(field), "message": _printable(message.removeprefix("Value error, "))}


def _printable(text: str) -> str:
    return text[:200].encode("utf-8", "backslashreplace").decode()


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette lists the methods of only the first route with this path.
        allowed = ", ".join(sorted(request.app.state.methods.of(request.scope["path"])))
        error = HTTPException(error.status_code, error.detail, {"Allow": allowed})
    name = _NAMES.get(error.status_code, f"Http{error.status_code}")
    title = HTTPStatus(error.status_code).phrase
    return problem(error.status_code, name, title, str(error.detail), headers=error.headers)


async def _database_error(request: Request, error: Exception) -> Response:
    code = sqlstate(error)
    match classify(error):
        case DatabaseFault.MISSING_PARTITION:
            return await _make_months(request)
        case DatabaseFault.CONFLICT:
            log.warning("constraint code=%s error=%s", code, _first_line(error))
            changed = "Something changed meanwhile."
            return problem(409, "Conflict", "Conflicts with the present state", changed)
        case DatabaseFault.VALUE:
            log.warning("value refused code=%s error=%s", code, _first_line(error))
            return problem(422, "InvalidValue", "A value cannot be used", "The database refused a value.")
        case DatabaseFault.AWAY | DatabaseFault.TRANSIENT | DatabaseFault.NOT_MIGRATED:
            log.warning("database unavailable code=%s error=%s", code, _first_line(error))
            return _unavailable(RETRY_LATER_S)
        case DatabaseFault.OURS:
            log.error("database error code=%s", code, exc_info=error)
            return _internal()


async def _make_months(request: Request) -> Response:
    def make() -> list[str]:
        with request.app.state.sessions() as session:
            made = partitions.ensure(session, datetime.now(UTC))
            session.commit()
            return made

    made = await run_in_threadpool(make)
    log.warning("months were missing made=%s", ",".join(made))
    return _unavailable(RETRY_SOON_S)


def _unavailable(retry_after_s: int) -> Response:
    return problem(
        503,
        "Unavailable",
        "Not available for the moment",
        "The database cannot be used just now. Nothing was stored: send it again.",
        headers={"Retry-After": str(retry_after_s)},
    )


async def _unexpected(_request: Request, _error: Exception) -> Response:
    """Answer 500 without details; Starlette raises the error again, and the server logs its stack trace."""
    return _internal(request_ids.headers())  # Starlette sends this answer past all our middleware


def _internal(headers: Mapping[str, str] | None = None) -> Response:
    title, detail = "Something went wrong", "It was logged and is ours to repair."
    return problem(500, "InternalError", title, detail, headers=headers)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
