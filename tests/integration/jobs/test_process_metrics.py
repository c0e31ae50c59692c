"""The metrics of ingest and jobs, as a Prometheus elsewhere reads them."""

import os
import signal
import urllib.error
import urllib.request

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from core.database import schema
from core.health.process_metrics import milepost_version
from local import loopback
from local.services.ports import free_port
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until

PORT = "a free port"
TOKEN = "a-token-of-metrics"
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


@pytest.mark.parametrize(("verb", "metric"), [("ingest", "connected_shards"), ("jobs", "outbox_waiting")])
def test_metrics_on_another_address_want_the_token(processes: Processes, verb: str, metric: str) -> None:
    port = free_port()
    wanted = {
        "MILEPOST_METRICS_HOST": "0.0.0.0",
        "MILEPOST_METRICS_TOKEN": TOKEN,
        f"MILEPOST_{verb.upper()}_METRICS_PORT": str(port),
    }
    processes.start(verb, settings=None, **wanted)
    url = f"http://127.0.0.1:{port}/metrics"
    wait_until(lambda: _status(url) == 200, what=f"{verb} shows its metrics")
    assert _status(url, FORWARDED) == 403
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with loopback.request(urllib.request.Request(url, headers=FORWARDED | bearer), timeout_s=5) as response:
        assert f"milepost_{'ingest_' if verb == 'ingest' else ''}{metric}" in response.read().decode()


@pytest.mark.parametrize(
    ("verb", "variables", "workers"),
    [
        ("ingest", {"MILEPOST_INGEST_METRICS_PORT": PORT}, 1),
        ("jobs", {"MILEPOST_JOBS_METRICS_PORT": PORT}, 1),
        ("api", {"MILEPOST_HTTP_PORT": PORT}, 1),
        ("api", {"MILEPOST_HTTP_PORT": PORT, "MILEPOST_API_PROCESSES": "2"}, 2),
    ],
)
def test_a_process_describes_itself_and_repeats_nothing(
    processes: Processes, verb: str, variables: dict[str, str], workers: int
) -> None:
    port = str(free_port())
    processes.start(
        verb, settings=None, **{name: value.replace(PORT, port) for name, value in variables.items()}
    )
    url = f"http://127.0.0.1:{port}/metrics"
    wait_until(lambda: len(_values(url, "process_cpu_seconds_total")) == workers, 60, f"{verb} is measured")
    (build,) = _values(url, "milepost_build_info")
    assert build.labels == {"version": milepost_version(), "revision": schema.newest_revision()}
    families = _families(url)
    names = [family.name for family in families]
    assert sorted(set(names)) == sorted(names)
    samples = [(one.name, tuple(one.labels.items())) for family in families for one in family.samples]
    assert sorted(set(samples)) == sorted(samples)
    assert not [name for name, _labels in samples if name.endswith("_created")]


def test_a_worker_that_is_gone_leaves_no_gauge_behind(processes: Processes) -> None:
    port = str(free_port())
    processes.start("api", MILEPOST_HTTP_PORT=port, MILEPOST_API_PROCESSES="2")
    url = f"http://127.0.0.1:{port}/metrics"
    wait_until(lambda: _connected(url) == 2, 60, "two workers are on the broker")
    gone = _values(url, "process_start_time_seconds")[0].labels["pid"]
    os.kill(int(gone), signal.SIGKILL)
    wait_until(lambda: gone not in _pids(url) and len(_pids(url)) == 2, 60, "another worker replaces it")
    wait_until(lambda: _connected(url) == 2, 60, "only the workers that run are counted")


def _connected(url: str) -> float:
    return sum(sample.value for sample in _values(url, "milepost_live_bridge_connected"))


def _pids(url: str) -> set[str]:
    return {sample.labels["pid"] for sample in _values(url, "process_start_time_seconds")}


def _values(url: str, name: str) -> list[Sample]:
    return [one for family in _families(url) for one in family.samples if one.name == name]


def _families(url: str) -> list[Metric]:
    """What the process exports; [] while it does not answer."""
    try:
        with loopback.request(url, timeout_s=5) as response:
            return list(text_string_to_metric_families(response.read().decode()))
    except OSError:
        return []


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    """The answer's status, or 0 without an answer."""
    try:
        with loopback.request(urllib.request.Request(url, headers=headers or {}), timeout_s=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0
