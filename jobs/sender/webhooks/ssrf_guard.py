"""The SSRF guard of webhook connections: resolve a name once, check every address, connect to one of them.

So neither a private address is ever reached nor one that the name gets after the check (DNS rebinding), and
no response, however slow, occupies a thread longer than the call's time limit.
"""

import contextlib
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import httpcore

from core.notifications.webhooks.addresses import is_allowed, is_private_allowed
from core.settings.outgoing import Networks

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


@dataclass(eq=False)
class CheckedNetwork(httpcore.NetworkBackend):
    """The network backend of one call, which ends at ``deadline`` by the monotonic clock."""

    allowed: Networks
    resolve: Resolve
    deadline: float
    is_plain: bool
    _stream: "_BoundedStream | None" = field(default=None, init=False)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # our own deadline applies
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        last_error: OSError | None = None
        for address in self._checked(host, port):
            try:
                connected = socket.create_connection(
                    (address, port), _left_s(self.deadline, CONNECT_TIMEOUT_S)
                )
            except OSError as error:
                last_error = error
                continue
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stream = _BoundedStream(connected, self.deadline)
            return self._stream
        raise httpcore.ConnectError(str(last_error)) from last_error

    def cut(self) -> None:
        """Abort the call, from another thread."""
        if self._stream is not None:
            self._stream.cut()

    def _checked(self, host: str, port: int) -> list[str]:
        """Return the name's addresses, all of which are allowed. Raises `AddressRefused`."""
        try:
            addresses = _resolve_within(
                _left_s(self.deadline, CONNECT_TIMEOUT_S), lambda: self.resolve(host, port)
            )
        except OSError as error:
            raise NameRefused(host, str(error)) from None
        private = [address for address in addresses if not is_allowed(address, self.allowed)]
        if private or not addresses:
            raise NameRefused(host, f"private: {', '.join(private)}" if private else "it has no address")
        if self.is_plain and not all(is_private_allowed(address, self.allowed) for address in addresses):
            raise AddressRefused("http:// is only for networks that the operator allowed: use https://")
        return addresses


@dataclass(eq=False)
class _BoundedStream(httpcore.NetworkStream):
    """A stream whose waits are bounded by the call's deadline; httpcore's own time-outs are ignored."""

    connected: socket.socket
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        self.connected.settimeout(_left_s(self.deadline))
        return self.connected.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self.connected.settimeout(_left_s(self.deadline))
        try:
            self.connected.sendall(buffer)
        except TimeoutError:
            raise
        except OSError as error:
            # httpcore reads on after its own error: a receiver may answer before it has read everything.
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self.connected.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        self.connected.settimeout(_left_s(self.deadline))
        self.connected = ssl_context.wrap_socket(self.connected, server_hostname=server_hostname)
        return self

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connected.shutdown(socket.SHUT_RDWR)


def _left_s(deadline: float, most_s: float = math.inf) -> float:
    left_s = min(deadline - time.monotonic(), most_s)
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def _resolve_within(seconds: float, resolve: Callable[[], list[str]]) -> list[str]:
    """Resolve a name with a time limit. Raises `OSError`."""
    # The system's resolver has no time-out: a slow look-up is abandoned in its thread.
    answer: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def work() -> None:
        try:
            answer.put(resolve())
        except (OSError, UnicodeError) as error:
            answer.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=work, name="resolver", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except Empty:
        raise TimeoutError("not found in time") from None
    if isinstance(found, OSError):
        raise found
    return found
