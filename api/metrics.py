"""Prometheus metrics: requests per route template, and outbox and quarantine depths read at each scrape."""

import asyncio
import os
import time
from contextlib import suppress
from datetime import timedelta

from anyio import to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.health import scraping
from core.health.report import HealthReport
from core.health.results import CheckStatus
from core.models.record import Outbox, Quarantine, QuarantineCount
from core.settings import Settings

_NOT_KEPT = select(func.sum(QuarantineCount.not_kept_rows)).where(
    QuarantineCount.not_kept_rows > 0,
    QuarantineCount.device_id.is_not(None),
    QuarantineCount.hour > func.now() - timedelta(hours=2),
)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
STATE_WITHIN_S = 3.0
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class RequestMetrics:
    """Request counters of this process; with several worker processes, of all of them together."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "milepost_http_requests",
            "HTTP requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "milepost_http_request_seconds", "Time to answer", ["method", "route"], registry=self.registry
        )

    def text(self) -> bytes:
        if MULTIPROCESS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Measured:
    """Count and time requests (ASGI middleware).

    Labels are the route's template and a known method, never client input: the number of series stays
    bounded.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path", "unmatched")
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(method, route).observe(time.perf_counter() - started)


def may_scrape(request: Request, settings: Settings) -> bool:
    """Return whether the request carries the metrics token or comes from this machine."""
    return has_metrics_token(request, settings) or is_local(request)


def has_metrics_token(request: Request, settings: Settings) -> bool:
    return scraping.has_token(request.headers.get("authorization", ""), settings)


def is_local(request: Request) -> bool:
    return scraping.is_local(
        request.client.host if request.client is not None else None,
        is_forwarded=bool({"x-forwarded-for", "forwarded"}.intersection(request.headers)),
    )


async def state_text(sessions: sessionmaker[Session], *, is_up: bool) -> bytes:
    """Render the gauges that are read at the scrape.

    Without the database only `milepost_database_up` is rendered; after `STATE_WITHIN_S` the counts are left
    out.
    """
    registry = CollectorRegistry()
    _gauge(registry, "milepost_database_up", "Whether the database answers", is_up)
    if is_up:
        with suppress(TimeoutError):
            async with asyncio.timeout(STATE_WITHIN_S):
                counts = await to_thread.run_sync(_state_counts, sessions, abandon_on_cancel=True)
                for name, meaning, value in counts:
                    _gauge(registry, name, meaning, value)
    return generate_latest(registry)


def _state_counts(sessions: sessionmaker[Session]) -> list[tuple[str, str, float]]:
    try:
        with sessions() as session:
            waiting, dead_letters, oldest = session.execute(
                select(
                    func.count().filter(Outbox.parked_at.is_(None)),
                    func.count().filter(Outbox.parked_at.is_not(None)),
                    func.extract(
                        "epoch", func.now() - func.min(Outbox.created_at).filter(Outbox.parked_at.is_(None))
                    ),
                )
            ).one()
            quarantined = session.scalar(select(func.count()).select_from(Quarantine)) or 0
            not_kept = session.scalar(_NOT_KEPT) or 0
    except SQLAlchemyError:
        return []
    return [
        ("milepost_outbox_rows", "Rows that wait for the relay", waiting),
        ("milepost_outbox_parked_rows", "Rows refused too often", dead_letters),
        ("milepost_outbox_oldest_seconds", "Age of the oldest row that waits", float(oldest or 0)),
        ("milepost_quarantine_rows", "Messages in the quarantine", quarantined),
        (
            "milepost_quarantine_not_kept",
            "Refused messages beyond the quarantine's bounds in this hour and the last: counted only",
            float(not_kept),
        ),
    ]


def health_text(report: HealthReport) -> bytes:
    """Render the checks of `GET /status/`: 1 for each check's current status, and its figures."""
    registry = CollectorRegistry()
    state = Gauge("milepost_check", "1: the check has this status", ["check", "status"], registry=registry)
    figure = Gauge("milepost_check_figure", "What the check measured", ["check", "figure"], registry=registry)
    part = Gauge(
        "milepost_check_part_ok",
        "Whether this shard or process is well",
        ["check", "part"],
        registry=registry,
    )
    for check in report.checks:
        for status in CheckStatus:
            state.labels(check.name, status.value).set(check.status is status)
        for name, value in check.figures.items():
            if value is not None:
                figure.labels(check.name, name).set(value)
        for one in check.parts:
            part.labels(check.name, one.name).set(one.status is CheckStatus.OK)
    return generate_latest(registry)


def _gauge(registry: CollectorRegistry, name: str, meaning: str, value: float) -> None:
    Gauge(name, meaning, registry=registry).set(value)
