"""Endpoints for monitoring: liveness, readiness and metrics."""

from typing import Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import HealthOf, LiveOf, Sessions, SettingsOf
from api.http.errors import RETRY_LATER_S, problem
from api.metrics import health_text, may_scrape, state_text
from api.schemas.fields import Output
from core.errors import Forbidden
from core.health import seeing
from core.health.scraping import REFUSAL

router = APIRouter(tags=["operations"])


class Health(Output):
    status: Literal["ok"] = "ok"


class Readiness(Output):
    """Whether this process can serve.

    ``live`` is informative, not required: without the broker REST still works, and WebSockets catch up later.
    """

    status: Literal["ok"] = "ok"
    database: Literal["up"] = "up"
    live: Literal["connected", "away"]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Check that the process is alive")
async def healthz() -> Health:
    """Answer without asking the database or the broker."""
    return Health()


@router.head("/readyz", include_in_schema=False, response_model=None)
@router.get("/readyz", summary="Check that the process can serve requests", response_model=Readiness)
async def readyz(live: LiveOf, health: HealthOf) -> Readiness | Response:
    """Answer 503 unless the database is reachable and migrated to what this code needs; always within 2 s."""
    state: Literal["connected", "away"] = "connected" if live.connected else "away"
    found = await health.database_state()
    if found == seeing.UP:
        return Readiness(live=state)
    return problem(
        503,
        "NotReady",
        "Not ready",
        f"The database is {found}.",
        {"database": found, "live": state},
        {"Retry-After": str(RETRY_LATER_S)},
    )


METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "milepost_outbox_rows 0.0\n"},
        },
    },
    403: {"description": "Neither from this machine nor with the metrics token"},
}


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=METRICS)
async def metrics(request: Request, settings: SettingsOf, sessions: Sessions, health: HealthOf) -> Response:
    """Export metrics to this machine itself, or with `Authorization: Bearer <MILEPOST_METRICS_TOKEN>`.

    It answers within a few seconds whatever is frozen, then without the database's figures.
    """
    if not may_scrape(request, settings):
        raise Forbidden(REFUSAL)
    is_up = await health.database_state() == seeing.UP
    own = await to_thread.run_sync(request.app.state.metrics.text)
    text = own + await state_text(sessions, is_up=is_up) + health_text(await health.current())
    return Response(text, media_type=CONTENT_TYPE_LATEST)
