"""Prometheus: requests by route template, and on each scrape the depth of the outbox and the quarantine."""

import hmac
import os
import time
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.models import Outbox, Quarantine, QuarantineCount
from core.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1"})
_NOT_KEPT = select(func.sum(QuarantineCount.not_kept_rows)).where(
    QuarantineCount.not_kept_rows > 0,
    QuarantineCount.device_id.is_not(None),
    QuarantineCount.hour > func.now() - timedelta(hours=2),
)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class RequestMetrics:
    """Counters of one process, or with several processes of all together."""

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

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        if MULTIPROCESS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Measured:
    """ASGI middleware. Labels are the route's template and a known method, never what a client made up."""

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
            self.metrics.observe(method, route, status, time.perf_counter() - started)


def may_scrape(request: Request, settings: Settings) -> bool:
    """With the token, or from this machine itself: a local proxy's requests carry X-Forwarded-For."""
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    sent = request.headers.get("authorization", "").encode("utf-8", "replace")
    if token and hmac.compare_digest(sent, f"Bearer {token}".encode()):
        return True
    is_local = request.client is not None and request.client.host in LOOPBACK
    return is_local and not {"x-forwarded-for", "forwarded"}.intersection(request.headers)


def state_text(sessions: sessionmaker[Session]) -> bytes:
    """Gauges read at the scrape. With the database away they say only that."""
    registry = CollectorRegistry()
    try:
        with sessions() as session:
            waiting, parked, oldest = session.execute(
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
        _gauge(registry, "milepost_database_up", "Whether the database answers", False)
        return generate_latest(registry)
    _gauge(registry, "milepost_database_up", "Whether the database answers", True)
    _gauge(registry, "milepost_outbox_rows", "Rows that wait for the relay", waiting)
    _gauge(registry, "milepost_outbox_parked_rows", "Rows refused too often", parked)
    _gauge(registry, "milepost_outbox_oldest_seconds", "Age of the oldest row that waits", float(oldest or 0))
    _gauge(registry, "milepost_quarantine_rows", "Messages in the quarantine", quarantined)
    _gauge(
        registry,
        "milepost_quarantine_not_kept",
        "Refused messages beyond the quarantine's bounds in this hour and the last: counted only",
        float(not_kept),
    )
    return generate_latest(registry)


def _gauge(registry: CollectorRegistry, name: str, meaning: str, value: float) -> None:
    Gauge(name, meaning, registry=registry).set(value)
