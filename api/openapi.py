"""The OpenAPI document: FastAPI's, with our one error shape declared wherever it may come."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from api.errors import MEDIA_TYPE

TITLE = "Milepost"
DESCRIPTION = """Delivery tracking over MQTT, REST and WebSockets.

* Log in at `POST /auth/token`, then send `Authorization: Bearer <access_token>`.
* Every path answers with and without its trailing slash.
* Lists are `{"items": […], "next": cursor or null}`; send `next` as `cursor` for the next page.
* Errors are `application/problem+json` (RFC 9457) with an `error` name to match on.
* What is another company's answers 404, exactly like what does not exist.
"""
TAGS = [
    {"name": "deliveries", "description": "Deliveries, where they are, and what became of them."},
    {"name": "people", "description": "Logging in, users, the own account and company."},
    {"name": "fleet", "description": "Vehicles, drivers and the devices in them."},
    {"name": "customers", "description": "Who deliveries go to."},
    {"name": "loads", "description": "What deliveries carry."},
    {"name": "operations", "description": "For machines that watch this one."},
]
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Conflicts with the present state"}}
EDITED = CONFLICT | {412: {"description": "Changed since the version of If-Match"}}
_MEANINGS = {
    "401": "No valid access token",
    "403": "Visible, but not allowed",
    "404": "Missing, another company's, or not yours",
    "409": "Conflicts with the present state",
    "412": "Changed since the version of If-Match",
    "413": "The body is too large",
    "422": "A value cannot be used; `errors` names each field",
    "503": "The database is away; see Retry-After",
}


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
        tags=TAGS,
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    for operations in document["paths"].values():
        for operation in operations.values():
            _declare_problems(operation)
    return document


def _declare_problems(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    for status in sorted(_statuses(operation) | (_MEANINGS.keys() & responses.keys())):
        answer: dict[str, Any] = {"description": _MEANINGS[status]}
        answer |= {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        responses[status] = answer


def _statuses(operation: Mapping[str, Any]) -> set[str]:
    """What may go wrong follows from what the operation takes."""
    found = {"503"}
    parameters = operation.get("parameters", [])
    if "security" in operation:
        found |= {"401", "403"}
    if any(parameter["in"] == "path" for parameter in parameters):
        found.add("404")
    if "requestBody" in operation:
        found |= {"413", "422"}
    if any(parameter["in"] == "query" for parameter in parameters):
        found.add("422")
    return found
