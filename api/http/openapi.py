"""FastAPI's OpenAPI document, with the standard error shape declared wherever an error may come."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from api.http import examples
from api.http.errors import MEDIA_TYPE
from api.request_ids import HEADER, PLAIN

TITLE = "Milepost"
DESCRIPTION = """Delivery tracking over MQTT, REST and WebSockets.

* Log in at `POST /auth/token`, then send `Authorization: Bearer <access_token>`. `POST /auth/refresh` gives
  new tokens; each refresh token works once. Integrations send an API token (`mp_…`) in the same place.
* Every path answers with and without its trailing slash.
* Lists are `{"items": […], "next": cursor or null}`; send `next` as `cursor` for the next page.
* Errors are `application/problem+json` (RFC 9457) with an `error` name to match on.
* Every answer has an `X-Request-ID`, which our logs name: the one you sent, if it is plain, or a new one.
* Another company's resources answer 404, exactly like those that do not exist.
"""
TAGS = [
    {"name": "deliveries", "description": "Deliveries, their positions and their outcome."},
    {"name": "people", "description": "Log-in, users, your own account and company."},
    {"name": "integrations", "description": "API tokens and the audit log."},
    {
        "name": "notifications",
        "description": "Recipients per event, webhooks, e-mail templates, and the outcome of each message.",
    },
    {"name": "fleet", "description": "Vehicles, drivers and devices."},
    {"name": "customers", "description": "Recipients of deliveries."},
    {"name": "loads", "description": "Load orders and their items."},
    {"name": "reports", "description": "Daily reports."},
    {"name": "operations", "description": "Health, readiness and metrics, for monitoring."},
]
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Conflicts with the present state"}}
TOO_MANY: dict[int | str, dict[str, Any]] = {429: {"description": "Too many attempts"}}
EDITED = CONFLICT | {412: {"description": "Changed since the version of If-Match"}}
_MEANINGS = {
    "400": "The body cannot be read",
    "401": "No valid access token",
    "403": "Visible, but not allowed",
    "404": "Missing, another company's, or not yours",
    "406": "None of the formats is acceptable",
    "409": "Conflicts with the present state",
    "412": "Changed since the version of If-Match",
    "413": "The body is too large",
    "414": "The query is too long, or has too many parameters",
    "415": "The body's media type is not supported",
    "422": "A value cannot be used; `errors` names each field",
    "428": "Send the version that you have read as `If-Match`",
    "429": "Too many requests; see Retry-After",
    "503": "Not available for the moment; see Retry-After",
}
_NAMES = {
    "400": "BadRequest",
    "401": "NotAuthenticated",
    "403": "Forbidden",
    "404": "NotFound",
    "406": "NotAcceptable",
    "409": "Conflict",
    "412": "PreconditionFailed",
    "413": "BodyTooLarge",
    "414": "QueryTooLong",
    "415": "UnsupportedMediaType",
    "422": "InvalidValue",
    "428": "PreconditionRequired",
    "429": "TooManyRequests",
    "503": "Unavailable",
}
_SECONDS = {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}
_REQUEST_ID = {
    "description": f"The request's id in our logs: the client's own if it is plain ({PLAIN}), or a new one",
    "schema": {"type": "string", "pattern": f"^{PLAIN}$"},
}
_REFERENCE = {HEADER: {"$ref": "#/components/headers/RequestId"}}
_HEADERS: Mapping[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}},
    "429": {"Retry-After": _SECONDS},
    "503": {"Retry-After": _SECONDS},
}
_CHANGING = frozenset({"post", "put", "patch", "delete"})


class FieldProblem(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457, with our `error` name, and its facts as further members."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/InvalidTransition",
                    "title": "That status change is not allowed",
                    "status": 409,
                    "detail": "A delivery that is delivered cannot become in_transit; allowed: none.",
                    "error": "InvalidTransition",
                    "current": "delivered",
                    "requested": "in_transit",
                    "allowed": [],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    error: str
    errors: list[FieldProblem] | None = None


def install(app: FastAPI) -> None:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=TAGS,
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _declare_problems(method, operation)
            for answer in operation["responses"].values():
                answer["headers"] = answer.get("headers", {}) | _REFERENCE
    document["components"]["headers"] = {"RequestId": _REQUEST_ID}
    for operations in document["webhooks"].values():
        del operations["post"]["responses"]["422"]  # the receiver's answers are its own
    examples.add_to(document)
    return document


def operation_id(route: APIRoute) -> str:
    """Return the function's name: a generated client names its method after it."""
    return route.name


def _declare_problems(method: str, operation: dict[str, Any]) -> None:
    """Declare every error status that may come; ``responses=`` of a route keeps its own description."""
    responses = operation["responses"]
    if responses.get("422", {}).get("description") == "Validation Error":
        del responses["422"]  # FastAPI's error shape, and wrong for ids in paths, which answer 404
    own = {status: answer for status, answer in responses.items() if status >= "400"}
    succeeding = {status: answer for status, answer in responses.items() if status < "400"}
    problems = {
        status: _problem_answer(status, own.get(status, {}))
        for status in sorted(_statuses(method, operation) | own.keys())
    }
    operation["responses"] = succeeding | problems


def _problem_answer(status: str, own: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    meaning = _MEANINGS.get(status, HTTPStatus(int(status)).phrase)
    answer = {
        "description": own.get("description", meaning),
        "content": {MEDIA_TYPE: {"schema": schema, "example": _problem_example(status, meaning)}},
    }
    headers = own.get("headers", {}) | _HEADERS.get(status, {})
    return answer | ({"headers": headers} if headers else {})


def _problem_example(status: str, meaning: str) -> dict[str, Any]:
    name = _NAMES.get(status, HTTPStatus(int(status)).phrase.title().replace(" ", ""))
    shown = {"type": f"/problems/{name}", "title": meaning, "status": int(status), "detail": f"{meaning}."}
    errors = {"errors": [{"field": "reference", "message": "Field required"}]} if status == "422" else {}
    return shown | {"error": name} | errors


def _statuses(method: str, operation: Mapping[str, Any]) -> set[str]:
    """Return the error statuses that follow from an operation's parameters, body and security."""
    found = {"503"}
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    if "security" in operation:
        found |= {"401", "403"}
        # Any of them may lose a race for a unique or foreign key.
        found |= {"409"} if method in _CHANGING else set()
    if "path" in places:
        found.add("404")
    if "requestBody" in operation:
        found |= {"400", "413", "422"}
    if "query" in places:
        found.add("414")
    if places & {"query", "header"}:
        found.add("422")
    return found
