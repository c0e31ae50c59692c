"""Prometheus metrics of the live part."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class LiveMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.sockets = self._gauge("milepost_live_sockets", "Watching WebSockets")
        self.groups = self._gauge("milepost_live_groups", "Deliveries watched")
        self.sent = Counter("milepost_live_events_sent", "Messages sent to watchers", registry=self.registry)
        self.conflated = Counter(
            "milepost_live_conflated", "Locations replaced by newer ones unsent", registry=self.registry
        )
        self.closed = Counter(
            "milepost_live_closed", "Sockets that we closed, by code", ["code"], registry=self.registry
        )
        self.connected = self._gauge("milepost_live_bridge_connected", "Processes on the broker")
        self.connections = Counter(
            "milepost_live_bridge_connections", "Times on the broker", registry=self.registry
        )
        self.refused = Counter(
            "milepost_live_refused_subscriptions", "Refused by the broker", registry=self.registry
        )
        self.dropped = Counter(
            "milepost_live_dropped_messages", "Facts that found our queue full", registry=self.registry
        )

    def _gauge(self, name: str, meaning: str) -> Gauge:
        """Create a gauge; with several worker processes it is the sum over the live ones."""
        return Gauge(name, meaning, registry=self.registry, multiprocess_mode="livesum")
