"""For machines that watch this one: alive, ready, metrics."""

from typing import Any, Literal

import psycopg2
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.dependencies import LiveOf, Sessions, SettingsOf
from api.errors import RETRY_LATER_S, problem
from api.metrics import may_scrape, state_text
from api.schemas.fields import Output
from core import schema
from core.errors import Forbidden
from core.scraping import REFUSAL

router = APIRouter(tags=["operations"])


class Health(Output):
    status: Literal["ok"] = "ok"


class Readiness(Output):
    """``live`` is told, not required: without the broker REST still works, and WebSockets catch up later."""

    status: Literal["ok"] = "ok"
    database: Literal["up"] = "up"
    live: Literal["connected", "away"]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """It answers without asking the database or the broker."""
    return Health()


@router.get("/readyz", summary="Can it serve?", response_model=Readiness)
def readyz(request: Request, sessions: Sessions, live: LiveOf) -> Readiness | Response:
    """503 unless the database is reachable and migrated to what this code needs."""
    state: Literal["connected", "away"] = "connected" if live.connected else "away"
    found = _database_state(sessions, request.app.state.revision)
    if found == "up":
        return Readiness(live=state)
    return problem(
        503,
        "NotReady",
        "Not ready",
        f"The database is {found}.",
        {"database": found, "live": state},
        {"Retry-After": str(RETRY_LATER_S)},
    )


def _database_state(sessions: sessionmaker[Session], needed: str | None) -> str:
    try:
        with sessions() as session:
            return "up" if schema.present_revision(session) == needed else "not migrated"
    except SQLAlchemyError as error:
        is_there = isinstance(getattr(error, "orig", None), psycopg2.ProgrammingError)
        return "not migrated" if is_there else "away"


METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "milepost_outbox_rows 0.0\n"},
        },
    },
    403: {"description": "Neither from this machine nor with the metrics token"},
}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=METRICS)
def metrics(request: Request, settings: SettingsOf, sessions: Sessions) -> Response:
    """From this machine itself, or with `Authorization: Bearer <MILEPOST_METRICS_TOKEN>`."""
    if not may_scrape(request, settings):
        raise Forbidden(REFUSAL)
    text = request.app.state.metrics.text() + state_text(sessions)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
