"""The SSRF guard of webhook connections: resolve a name once, check every address, connect to one of them.

So neither a private address is ever reached nor one that the name gets after the check (DNS rebinding), and
no response, however slow, occupies a thread longer than the call's time limit.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

import httpcore

from core.notifications.webhooks.addresses import is_allowed, is_private_allowed
from core.outgoing_settings import Networks

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
Resolve = Callable[[str, int], list[str]]


class AddressRefused(Exception):
    """We do not call this address; the error's text says why."""


class NameRefused(AddressRefused):
    """One error for names that are unknown, time out or are private; ``detail`` is for our log only.

    Our name server may know names of our own network: a tenant who could tell these cases apart would learn
    them.
    """

    def __init__(self, host: str, detail: str) -> None:
        super().__init__("its name was not found, or leads to a private address")
        log.info("webhook_name_refused host=%r detail=%r", host, detail)


def addresses_of(host: str, port: int) -> list[str]:
    """Return every address of a name, by the system's resolver. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class CheckedNetwork(httpcore.NetworkBackend):
    """The network backend of one call, which ends ``total_s`` after its creation."""

    def __init__(self, allowed: Networks, resolve: Resolve, total_s: float, *, is_plain: bool) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._is_plain = is_plain
        self._deadline = time.monotonic() + total_s
        self._stream: _BoundedStream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # our own deadline applies
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        self._stream = _BoundedStream(self._connect(self._checked(host, port), port), self._deadline)
        return self._stream

    def cut(self) -> None:
        """Abort the call, from another thread."""
        if self._stream is not None:
            self._stream.cut()

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = _within(lambda: self._resolve(host, port), self._left_s(CONNECT_TIMEOUT_S))
        except OSError as error:
            raise NameRefused(host, str(error)) from None
        private = [address for address in addresses if not is_allowed(address, self._allowed)]
        if private or not addresses:
            raise NameRefused(host, f"private: {', '.join(private)}" if private else "it has no address")
        if self._is_plain and not all(is_private_allowed(address, self._allowed) for address in addresses):
            raise AddressRefused("http:// is only for networks that the operator allowed: use https://")
        return addresses

    def _connect(self, addresses: list[str], port: int) -> socket.socket:
        error: OSError | None = None
        for address in addresses:
            try:
                connected = socket.create_connection((address, port), self._left_s(CONNECT_TIMEOUT_S))
            except OSError as problem:
                error = problem
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected
        raise httpcore.ConnectError(str(error)) from error

    def _left_s(self, most_s: float) -> float:
        return min(most_s, _left_s(self._deadline))


class _BoundedStream(httpcore.NetworkStream):
    """A stream whose waits are bounded by the call's deadline; httpcore's own time-outs are ignored."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        with _as_httpcore(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(_left_s(self._deadline))
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        with _as_httpcore(httpcore.WriteTimeout, httpcore.WriteError):
            self._socket.settimeout(_left_s(self._deadline))
            self._socket.sendall(buffer)

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        with _as_httpcore(httpcore.ConnectTimeout, httpcore.ConnectError):
            self._socket.settimeout(_left_s(self._deadline))
            self._socket = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        return None

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _as_httpcore(timed_out: type[Exception], failed: type[Exception]) -> Any:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def _within(call: Callable[[], list[str]], seconds: float) -> list[str]:
    """Run a look-up with a time limit. Raises `OSError`."""
    # The system's resolver has no time-out: a slow look-up is abandoned in its thread.
    answer: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(call())
        except (OSError, UnicodeError) as error:
            answer.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except Empty:
        raise TimeoutError("not found in time") from None
    if isinstance(found, OSError):
        raise found
    return found
