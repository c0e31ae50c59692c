"""Prometheus metrics: requests per route template, and outbox and quarantine depths read at each scrape."""

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from anyio import to_thread
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import request_ids
from api.worker_processes import running_workers
from core.health import scraping
from core.health.process_metrics import WorkersCollector, describe_this_process
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
        self._build = describe_this_process(self.registry)
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
        folder = os.environ.get(MULTIPROCESS_FOLDER)
        if folder is None:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        # First: it removes the gauges of ended workers.
        registry.register(WorkersCollector(partial(running_workers, Path(folder))))
        registry.register(self._build)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Measured:
    """Identify, count and time requests (ASGI middleware).

    Labels are the route's template and a known method, never client input: the number of series stays
    bounded.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request_id = request_ids.begin(scope)
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], request_id]}
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
    gauges = [("milepost_database_up", "Whether the database answers", float(is_up))]
    if is_up:
        with suppress(TimeoutError):
            async with asyncio.timeout(STATE_WITHIN_S):
                gauges += await to_thread.run_sync(_state_counts, sessions, abandon_on_cancel=True)
    return _render(GaugeMetricFamily(*gauge) for gauge in gauges)


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
    """Render the checks of `GET /status/`: 1 for each check's current status, and its figures.

    The outbox's figures are left out: `state_text` renders them.
    """
    state = GaugeMetricFamily("milepost_check", "1: the check has this status", labels=["check", "status"])
    figure = GaugeMetricFamily("milepost_check_figure", "What the check measured", labels=["check", "figure"])
    part = GaugeMetricFamily(
        "milepost_check_part_ok", "Whether this shard or process is well", labels=["check", "part"]
    )
    for check in report.checks:
        for status in CheckStatus:
            state.add_metric([check.name, status.value], check.status is status)
        for name, value in check.figures.items():
            if value is not None and check.name != "outbox":
                figure.add_metric([check.name, name], value)
        for one in check.parts:
            part.add_metric([check.name, one.name], one.status is CheckStatus.OK)
    return _render([state, figure, part])


class _Families(Collector):
    """Metrics of one scrape. A `Gauge` would be shared with the other workers, which then export it again."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _render(families: Iterable[Metric]) -> bytes:
    return generate_latest(_Families(families))
