"""The worker's Prometheus metrics."""

from collections import Counter as Counts
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.health.process_metrics import describe_this_process
from core.health.scraping import MetricsServer
from core.positions.intake import DeviceAnswer
from core.settings import Settings

LAG_BUCKETS_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class IngestMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("milepost_ingest_messages", "Messages received", registry=self.registry)
        self.items = Counter(
            "milepost_ingest_items", "Fixes by what became of them", ["result"], registry=self.registry
        )
        self.status_requests = Counter(
            "milepost_ingest_status_requests", "Drivers' requests", ["result"], registry=self.registry
        )
        self.database_away = Counter(
            "milepost_ingest_database_away", "Times that ingest left the broker", registry=self.registry
        )
        self.lag = Histogram(
            "milepost_ingest_lag_seconds",
            "From the receipt of a batch's first message to the commit of its fixes",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )
        self.connected = Gauge("milepost_ingest_connected_shards", "Sessions open", registry=self.registry)

    def count(self, answers: Iterable[Sequence[DeviceAnswer]]) -> None:
        """Count a batch's answers."""
        # Once per batch: a counter's lock costs more than decoding the fix it counts.
        results = Counts(answer.result for item in answers for answer in item)
        for result, number in results.items():
            self.items.labels(result.value).inc(number)

    def serve(self, settings: Settings) -> None:
        """Serve ``/metrics`` if a port is set for it. Raises `SettingsError` on a taken port."""
        if settings.ingest_metrics_port is not None:
            describe_this_process(self.registry)
            MetricsServer(settings, "ingest_metrics_port", self.registry)
