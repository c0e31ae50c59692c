"""Assemble the web application: routers, error handlers, middleware and the objects they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api import live
from api.auth.hashing import Hashing
from api.content.renderings import Renderings
from api.content.streams import make_streams
from api.content.uploads import LARGER_BODIES, Uploads
from api.fast_path.threads import THREADS as FAST_THREADS
from api.fast_path.threads import FastThreads
from api.health import HealthWatch
from api.http import cors, errors, openapi
from api.http.body_limits import MAXIMUM_BODY_BYTES, OTHER_BODIES, LimitedRequest
from api.http.methods import Methods
from api.http.slashes import Slashes, slash_table
from api.live import Live
from api.metrics import Measured, RequestMetrics
from api.routes import (
    api_tokens,
    audit,
    auth,
    company,
    customers,
    daily_reports,
    deliveries,
    delivery_reports,
    devices,
    drivers,
    invitations,
    load_orders,
    me,
    notification_templates,
    notifications,
    operations,
    proofs,
    quarantine,
    set_password,
    status,
    tracks,
    users,
    vehicles,
    webhook_calls,
    webhooks,
)
from core.database import schema
from core.database.engine import make_engine, make_sessions
from core.health.process_metrics import milepost_version
from core.settings import Settings

THREADS = 10  # for the work of all routes that do not take the fast path
ROUTERS = (
    # Routes are matched in this order, so the busiest come first.
    deliveries.router,
    auth.router,
    tracks.router,
    delivery_reports.router,
    daily_reports.router,
    proofs.router,
    customers.router,
    drivers.router,
    vehicles.router,
    devices.router,
    load_orders.router,
    users.router,
    invitations.router,
    api_tokens.router,
    audit.router,
    me.router,
    company.router,
    quarantine.router,
    notification_templates.router,  # before the notification paths that end in an id
    notifications.router,
    webhooks.router,
    set_password.router,
    operations.router,
    status.router,
    live.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Its lifespan opens and closes the database engine and the broker connection."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # One connection per thread, kept open: opening one costs more than a request, and an extra thread
        # would only wait for one.
        engine = make_engine(settings, process="api", pool_size=THREADS + FAST_THREADS, overflow=0)
        current_default_thread_limiter().total_tokens = THREADS
        app.state.fast_threads = FastThreads() if settings.fast_path else None
        app.state.sessions = make_sessions(engine)
        app.state.hashing = Hashing()
        try:
            async with (
                Live(settings, app.state.sessions, app.state.metrics.registry) as app.state.live,
                HealthWatch(settings, app.state.live, app.state.revision) as app.state.health,
            ):
                yield
        finally:
            if app.state.fast_threads is not None:
                app.state.fast_threads.close()
            engine.dispose()

    # The documentation page's scripts are served locally: a browser may have no access to the internet.
    app = FastAPIOffline(
        title=openapi.TITLE,
        description=openapi.DESCRIPTION,
        version=milepost_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        webhooks=webhook_calls.router,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.settings = settings
    app.state.metrics = RequestMetrics()
    app.state.streams = make_streams()
    app.state.renderings = Renderings()
    app.state.uploads = Uploads()
    app.state.methods = Methods(route for router in ROUTERS for route in router.routes)
    app.state.revision = schema.newest_revision()
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(LimitedRequest, maximum=MAXIMUM_BODY_BYTES, others={**OTHER_BODIES, **LARGER_BODIES})
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(Slashes, table=slash_table(_paths()))
    cors.install(app, settings.allowed_origins)
    return app


def _paths() -> list[str]:
    return [getattr(route, "path") for router in ROUTERS for route in router.routes]  # noqa: B009
