"""Real receivers: an SMTP server, and an HTTP server that misbehaves on request."""

import contextlib
import email
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from local.services.ports import LOOPBACK, free_port


class SmtpInbox:
    """``on_rcpt`` and ``on_data`` give the server's reply; by default it takes everything."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.on_rcpt: Callable[[str], str] = lambda _address: "250 OK"
        self.on_data: Callable[[], str] = lambda: "250 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        reply = self.on_rcpt(address)
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        reply = self.on_data()
        if reply.startswith("250"):
            self.messages.append(email.message_from_bytes(envelope.content, policy=policy.default))
            self.recipients += envelope.rcpt_tos
        return reply


@contextmanager
def smtp_server(port: int | None = None, **options: Any) -> Iterator[tuple[SmtpInbox, int]]:
    """A mailbox and its port on the loopback address."""
    mailbox, port = SmtpInbox(), port or free_port()
    controller = Controller(mailbox, hostname=LOOPBACK, port=port, **options)
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()


@dataclass
class Call:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """``answer`` makes, for each call, the bytes to send, or ``"hang"``, ``"drip"`` or ``"close"``."""

    port: int
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    answer: Callable[[Call], bytes | str] = lambda _call: status(204)

    def url(self, path: str = "/hook", host: str = LOOPBACK, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def status(code: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} X", "Content-Length: 0", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def http_receiver(tls: ssl.SSLContext | None = None, host: str = LOOPBACK) -> Iterator[HttpReceiver]:
    listening = socket.create_server((host, 0))
    receiver = HttpReceiver(listening.getsockname()[1])
    ended = threading.Event()
    thread = threading.Thread(target=_accept, args=(listening, receiver, tls, ended))
    thread.start()
    try:
        yield receiver
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _accept(
    listening: socket.socket, receiver: HttpReceiver, tls: ssl.SSLContext | None, ended: threading.Event
) -> None:
    while not ended.is_set():
        try:
            connected, _ = listening.accept()
        except OSError:
            return
        receiver.connections += 1
        threading.Thread(target=_serve, args=(connected, receiver, tls, ended), daemon=True).start()


def _serve(
    connected: socket.socket, receiver: HttpReceiver, tls: ssl.SSLContext | None, ended: threading.Event
) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stream = stack.enter_context(connected)
        if tls is not None:
            stream = stack.enter_context(tls.wrap_socket(connected, server_side=True))
        call = _read(stream)
        receiver.calls.append(call)
        match receiver.answer(call):
            case "hang":
                ended.wait(30)
            case "drip":
                for mark in b"HTTP/1.1 200 OK\r\n" + b"X-Drip: y\r\n" * 1000:
                    stream.send(bytes([mark]))
                    if ended.wait(0.05):
                        return
            case bytes() as content:
                stream.sendall(content)


def _read(stream: socket.socket) -> Call:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _some(stream)
    return Call(first.split()[1], headers, body)


def _some(stream: socket.socket) -> bytes:
    if not (data := stream.recv(65536)):
        raise ConnectionError("closed")
    return data
