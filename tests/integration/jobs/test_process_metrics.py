"""The metrics of ingest and jobs, as a Prometheus elsewhere reads them."""

import urllib.error
import urllib.request

import pytest

from local import loopback
from local.services.ports import free_port
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until

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
