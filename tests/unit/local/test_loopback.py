"""Requests to our own processes, behind a proxy that knows nothing of this machine."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from local import loopback
from local.demo.rest import Rest
from tests.support.services.settings import PROJECT


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access_token": "t"}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_request_goes_past_the_proxy(url: str) -> None:
    with loopback.request(url, timeout_s=2) as response:
        assert response.status == 200


def test_the_demos_client_goes_past_the_proxy(url: str) -> None:
    assert Rest(url, "manager@demo.example", "password").get("/") == {}


@pytest.mark.parametrize(("path", "is_healthy"), [("/readyz", True), ("/broken", False)])
def test_a_health_check_goes_past_the_proxy_and_fails_with_the_answer(
    url: str, path: str, is_healthy: bool
) -> None:
    command = [sys.executable, "-m", "local.loopback", url + path]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)
    assert (result.returncode == 0) == is_healthy, result.stderr
