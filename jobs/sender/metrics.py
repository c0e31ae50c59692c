"""The sender's Prometheus metrics, and the state of its queue."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.models.notification import Notification
from core.notifications.attempts import AttemptOutcome
from core.notifications.kinds import State

log = logging.getLogger(__name__)

SENT = Counter("milepost_notifications_sent", "Notifications that were taken", ["channel"])
FAILED = Counter("milepost_notification_attempts_failed", "Attempts that were not", ["channel"])


def count(channel: str, outcome: AttemptOutcome) -> None:
    (SENT if outcome.error is None else FAILED).labels(channel).inc()


class QueueCollector(Collector):
    """Counts the queue on each scrape; exports nothing while the database is away."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        channel = case((Notification.webhook_id.is_(None), "email"), else_="webhook")
        query = (
            select(channel, func.count(), func.min(Notification.created_at))
            .where(Notification.state == State.QUEUED)
            .group_by(channel)
        )
        try:
            with self._sessions() as session:
                rows = session.execute(query).all()
        except SQLAlchemyError as error:
            log.warning("notifications_not_counted reason=%r", str(error))
            return
        queued = GaugeMetricFamily("milepost_notifications_queued", "To be sent", labels=["channel"])
        oldest = GaugeMetricFamily(
            "milepost_notifications_oldest_seconds", "Age of the oldest to be sent", labels=["channel"]
        )
        found = {name: (number, since) for name, number, since in rows}
        for name in ("email", "webhook"):
            number, since = found.get(name, (0, None))
            age_s = (datetime.now(UTC) - since).total_seconds() if since is not None else 0.0
            queued.add_metric([name], number)
            oldest.add_metric([name], age_s)
        yield queued
        yield oldest
