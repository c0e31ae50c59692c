"""The metrics that every process exports about itself: its build, and its CPU, memory and open files."""

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from core.database import schema

# When a counter began is no figure that an operator needs, and doubles the lines of each scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]


class BuildCollector(Collector):
    """Exports the version of the code, and as ``revision`` the newest migration that it has."""

    def __init__(self) -> None:
        self._build = {"version": milepost_version(), "revision": schema.newest_revision() or ""}

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "milepost_build", "Version and newest migration of the code", value=self._build
        )


class WorkersCollector(Collector):
    """Exports ``process_*`` of several processes, each with its pid as a label."""

    def __init__(self, find_pids: Callable[[], Iterable[int]]) -> None:
        self._find_pids = find_pids

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in self._find_pids():
            for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return families.values()


def describe_this_process(registry: CollectorRegistry) -> BuildCollector:
    """Export the build and ``process_*`` of this process; return the build's collector."""
    build = BuildCollector()
    registry.register(build)
    ProcessCollector(registry=registry)
    return build


def milepost_version() -> str:
    """Return the installed version, or "0" for a source tree that is not installed."""
    try:
        return version("milepost")
    except PackageNotFoundError:
        return "0"
