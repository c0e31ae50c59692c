"""Many devices' MQTT connections on one thread: one selector over the links' paho clients.

While the broker's port is closed all links wait together, for each attempt could block for
`CONNECT_TIMEOUT_S`.
"""

import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho

from core.backoff import Backoff
from local.simulator.device_link import DeviceLink

log = logging.getLogger(__name__)

MAINTAIN_EVERY_S = 1.0
CONNECTS_PER_LOOP = 20


class Network:
    """Drives the links: call `loop` until done, then `close`."""

    def __init__(self) -> None:
        self.links: list[DeviceLink] = []
        self.problem = ""
        self._selector = selectors.DefaultSelector()
        self._lost: set[DeviceLink] = set()
        self._maintain_at = 0.0
        self._closed_until = 0.0
        self._backoff = Backoff(base_s=0.5, limit_s=5.0)

    def add(self, link: DeviceLink) -> None:
        self.links.append(link)

    def loop(self, timeout_s: float) -> None:
        """Wait for the network at most ``timeout_s``, then do all pending work."""
        for key, events in self._selector.select(max(0.0, timeout_s)):
            _serve(key.data, events)
        now = time.monotonic()
        if now >= self._maintain_at:
            self._maintain_at = now + MAINTAIN_EVERY_S
            self._maintain(now)
        self._drop_lost(now)
        if now >= self._closed_until:
            self._connect_due(now)

    def close(self) -> None:
        """Disconnect every link cleanly."""
        for link in self.links:
            if link.client is not None:
                link.client.disconnect()
                link.client.loop_write()
        self._selector.close()

    def _maintain(self, now: float) -> None:
        """Keep connections alive, and end those that did not become ready."""
        for link in self.links:
            if link.client is not None:
                link.client.loop_misc()
                if link.is_overdue(now):
                    _shut(link.client)

    def _drop_lost(self, now: float) -> None:
        for link in self._lost:
            link.drop(now)
        self._lost.clear()

    def _connect_due(self, now: float) -> None:
        due = (link for link in self.links if link.wants_connection(now))
        for _, link in zip(range(CONNECTS_PER_LOOP), due, strict=False):
            try:
                link.connect(now, self._follow(link))
            except OSError as error:
                self._broker_is_away(link, error)
                return
            self._backoff.reset()
            self.problem = ""

    def _follow(self, link: DeviceLink) -> Callable[[paho.Client], None]:
        """Return a function that connects paho's socket callbacks to the selector."""

        def prepare(client: paho.Client) -> None:
            client.on_socket_open = self._opened
            client.on_socket_close = self._closed
            client.on_socket_register_write = self._write_wanted
            client.on_socket_unregister_write = self._write_done
            client.user_data_set(link)

        return prepare

    def _opened(self, _client: paho.Client, link: DeviceLink, sock: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, link)

    def _closed(self, _client: paho.Client, link: DeviceLink, sock: Any) -> None:
        self._selector.unregister(sock)
        # Only noted here: paho may close the socket in the middle of a caller's publish.
        self._lost.add(link)

    def _write_wanted(self, _client: paho.Client, link: DeviceLink, sock: Any) -> None:
        self._selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def _write_done(self, _client: paho.Client, link: DeviceLink, sock: Any) -> None:
        self._selector.modify(sock, selectors.EVENT_READ, link)

    def _broker_is_away(self, link: DeviceLink, error: OSError) -> None:
        self._closed_until = time.monotonic() + self._backoff.next()
        problem = f"no broker at {link.login.host}:{link.login.port} ({error.strerror or error})"
        if problem != self.problem:
            log.warning("%s; trying again", problem)
        self.problem = problem


def _serve(link: DeviceLink, events: int) -> None:
    client = link.client
    if client is None:
        return
    if events & selectors.EVENT_WRITE:
        client.loop_write()
    if events & selectors.EVENT_READ:
        client.loop_read()
        # TLS may have buffered decrypted bytes, which the selector does not see.
        while isinstance(sock := client.socket(), ssl.SSLSocket) and sock.pending():
            client.loop_read()


def _shut(client: paho.Client) -> None:
    """Shut a connection down; paho reads the end in the next loop, and closes it."""
    sock = client.socket()
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
