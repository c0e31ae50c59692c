"""Prometheus metrics: access control, and a small HTTP server for processes without a web server."""

import errno
import hmac
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app
from prometheus_client.registry import Collector

from core.settings import Settings, SettingsError, port_taken

LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
READ_TIMEOUT_S = 10.0
REFUSAL = "Metrics are for this machine itself, or for whoever has the metrics token."

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def may_scrape(client: str | None, authorization: str, *, is_forwarded: bool, settings: Settings) -> bool:
    """Return whether a request has the token, or is local and not forwarded by a local proxy."""
    return has_token(authorization, settings) or is_local(client, is_forwarded=is_forwarded)


def has_token(authorization: str, settings: Settings) -> bool:
    """Return whether the ``Authorization`` header, decoded as Latin-1, has the metrics token."""
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    sent = authorization.encode("latin-1", "replace")
    return bool(token) and hmac.compare_digest(sent, f"Bearer {token}".encode())


def is_local(client: str | None, *, is_forwarded: bool) -> bool:
    """Return whether a request comes from this machine and was not forwarded by a proxy on it."""
    return client in LOOPBACK and not is_forwarded


class MetricsServer:
    """A server of ``/metrics`` on ``MILEPOST_METRICS_HOST``, in its own threads, until `stop`."""

    def __init__(self, settings: Settings, port_field: str, registry: Collector) -> None:
        """Listen on the port of the setting ``port_field``. Raises `SettingsError`."""
        port = getattr(settings, port_field)
        try:
            self._server = _server_at(settings.metrics_host, port)
        except OSError as error:
            raise _cannot_listen(settings.metrics_host, port_field, port, error) from None
        self._server.set_app(_guarded(make_wsgi_app(registry), settings))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without the reverse DNS look-up of `http.server`, which a slow name server would delay."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _ServerOverIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = READ_TIMEOUT_S  # otherwise a client that sends nothing would hold its thread

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are frequent and all alike."""


def _server_at(host: str, port: int) -> _Server:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    kind = _ServerOverIPv6 if family == socket.AF_INET6 else _Server
    return kind((host, port), _Handler)


def _guarded(app: WsgiApp, settings: Settings) -> WsgiApp:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_forwarded = bool({"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & environ.keys())
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        if may_scrape(environ["REMOTE_ADDR"], authorization, is_forwarded=is_forwarded, settings=settings):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{REFUSAL}\n".encode()]

    return answer


def _cannot_listen(host: str, port_field: str, port: int, error: OSError) -> SettingsError:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return SettingsError(f"MILEPOST_METRICS_HOST={host} is no address of this machine: {error.strerror}")
    return port_taken(port_field, port, error)
