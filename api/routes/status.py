"""The health of the whole system; readiness covers only one process."""

import asyncio
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from msgspec import json
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.dependencies import Authorized, HealthOf, SettingsOf, bearer
from api.health import ANSWER_WITHIN_S, HealthWatch
from api.metrics import has_metrics_token, is_local
from api.schemas.status import StatusReport
from core.access import scoping
from core.health import seeing

router = APIRouter(tags=["operations"])


@router.head("/status/", include_in_schema=False, response_model=None)
@router.get("/status/", summary="Report the whole system's health", response_model=StatusReport)
async def status(
    request: Request,
    settings: SettingsOf,
    health: HealthOf,
    _token: Annotated[str | None, Depends(bearer)],
) -> Response:
    """Report the whole system's health: 200 whatever the status, within 2 s whatever is frozen.

    For operators and managers, for `Bearer <MILEPOST_METRICS_TOKEN>`, and for this machine itself. Users
    cannot be authenticated while the database does not answer: they get 503, the metrics token and this
    machine get the report.
    """
    if not _is_monitor(request, has_metrics_token(request, settings)):
        await _require_reader(request, health)
    report = await health.current()
    return Response(json.encode(report), media_type="application/json")


def _is_monitor(request: Request, has_token: bool) -> bool:
    """Return whether the metrics token or an anonymous local client asks."""
    # A user's token is judged as such, even when it is sent from this machine.
    return has_token or (is_local(request) and "authorization" not in request.headers)


async def _require_reader(request: Request, health: HealthWatch) -> None:
    """Raise `NotAuthenticated`, `Forbidden`, or `PoolTimeout` when the database does not answer."""
    authorized = Authorized(request)
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            # Checked first, in a thread of its own: a frozen database must not take the requests' threads.
            if await health.database_state() != seeing.UP:
                raise PoolTimeout("no token can be checked")
            await to_thread.run_sync(_authorize, authorized, abandon_on_cancel=True)
    except TimeoutError:
        raise PoolTimeout("the token was not checked in time") from None


def _authorize(authorized: Authorized) -> None:
    with authorized() as (_session, actor):
        scoping.require_company_reader(actor)
