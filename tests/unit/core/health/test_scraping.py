"""Who may read metrics, and the small server of ingest and jobs."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr

from core.health.scraping import MetricsServer, may_scrape
from core.settings import Settings, SettingsError
from local import loopback
from local.services.ports import free_port
from tests.support.services.settings import make_settings

TOKEN = "a-token-of-metrics"


def settings(**changes: Any) -> Settings:
    changes.setdefault("metrics_token", SecretStr(TOKEN))
    return make_settings("postgresql://nobody@127.0.0.1:1/none", jobs_metrics_port=free_port(), **changes)


@pytest.mark.parametrize(
    ("client", "authorization", "is_forwarded", "allowed"),
    [
        ("127.0.0.1", "", False, True),
        ("::1", "", False, True),
        ("127.0.0.1", "", True, False),
        ("172.18.0.7", "", False, False),
        (None, "", False, False),
        ("172.18.0.7", f"Bearer {TOKEN}", False, True),
        ("127.0.0.1", f"Bearer {TOKEN}", True, True),
        ("172.18.0.7", "Bearer another", False, False),
        ("172.18.0.7", TOKEN, False, False),
    ],
)
def test_the_token_or_this_machine_may_scrape(
    client: str | None, authorization: str, is_forwarded: bool, allowed: bool
) -> None:
    assert may_scrape(client, authorization, is_forwarded=is_forwarded, settings=settings()) is allowed


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer None"])
def test_without_a_token_no_other_machine_may_scrape(authorization: str) -> None:
    unset = settings(metrics_token=None)
    assert not may_scrape("172.18.0.7", authorization, is_forwarded=False, settings=unset)


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("milepost_vans", "Vans", registry=registry).set(3)
    its = settings(metrics_host=request.param)
    server = MetricsServer(its, "jobs_metrics_port", registry)
    yield f"http://127.0.0.1:{its.jobs_metrics_port}/metrics"
    server.stop()


def test_the_server_answers_this_machine(url: str) -> None:
    with loopback.request(url, timeout_s=5) as response:
        assert b"milepost_vans 3.0" in response.read()


def test_the_server_refuses_a_forwarded_request_without_token(url: str) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        loopback.request(urllib.request.Request(url, headers=forwarded), timeout_s=5)
    with refused.value:
        assert b"metrics token" in refused.value.read()
    with_token = urllib.request.Request(url, headers={**forwarded, "Authorization": f"Bearer {TOKEN}"})
    with loopback.request(with_token, timeout_s=5) as response:
        assert b"milepost_vans 3.0" in response.read()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_metrics_host_of_another_machine_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=f"MILEPOST_METRICS_HOST={host} is no address of this machine"):
        MetricsServer(settings(metrics_host=host), "jobs_metrics_port", CollectorRegistry())
