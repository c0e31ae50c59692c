"""What a connection may cost that never becomes a request, and that slow clients are not taken for it."""

import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send
from websockets.sync.client import connect

from api.http import protocol
from core.settings import Settings
from tests.support.servers.bare_server import BareServer, Wire, error_of, serving, status_of
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
MEGABYTE = 1024 * 1024


class App:
    """Answers each request, after all of its body, with its headers' names; echoes WebSocket messages."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _echo(receive, send)
            return
        self.requests += 1
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        names = b",".join(name for name, _value in scope["headers"])
        await _answer(send, 200, names)


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server() -> Iterator[BareServer]:
    with serving(App()) as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN_S", 0.5)


def headers(count: int, size: int) -> bytes:
    return b"".join(b"X-%03d: %s\r\n" % (number, b"v" * size) for number in range(count))


# --- headers ---


def test_headers_of_60_kb_are_taken_in_any_pieces(server: BareServer) -> None:
    request = HEAD + headers(60, 1000) + b"\r\n"
    with server.connect() as whole, server.connect() as pieces:
        whole.send(request)
        for start in range(0, len(request), 1000):
            pieces.send(request[start : start + 1000])
        assert status_of(whole.answer()) == status_of(pieces.answer()) == 200


@pytest.mark.parametrize("more", [headers(70, 1000), headers(1, 70_000), headers(129, 1), b"a:\r\n" * 200])
def test_more_headers_are_431_and_closed(server: BareServer, more: bytes) -> None:
    with server.connect() as wire:
        wire.send(HEAD + more + b"\r\n")
        answer = wire.until_closed()
    assert (status_of(answer), error_of(answer)) == (431, "HeadersTooLarge")


@pytest.mark.parametrize("begin", [HEAD + b"X: ", b"GET /", HEAD + b"X", b"\r\n", HEAD + b"\r\n"], ids=str)
def test_headers_without_end_are_cut_off(server: BareServer, begin: bytes) -> None:
    """A header's value or name, a path, empty lines before a request."""
    filler = b"\r\n" * 500 if begin.endswith(b"\r\n") else b"v" * 1000
    with server.connect() as wire:
        wire.send(begin)
        sent = 0
        while wire.send(filler):
            sent += len(filler)
            assert sent < 8 * MEGABYTE, "it would be taken for ever"
        wire.until_closed()


def test_endless_trailers_are_cut_off_and_are_no_headers(server: BareServer) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    with server.connect() as wire:
        wire.send(chunked + b"Authorization: Bearer x\r\n\r\n")
        assert wire.answer().endswith(b"host,transfer-encoding")
        wire.send(chunked + b"X: " + b"v" * 300_000)
        assert status_of(wire.until_closed()) == 431


def test_memory_stays_flat_under_a_header_without_end(settings: Settings, processes: Processes) -> None:
    """The real process takes a part of 30 MB, and answers others meanwhile."""
    api = processes.start("api")
    api.wait_for("live started", timeout=60)
    wait_until(lambda: _answers(settings.http_port), timeout=30, what="the API to answer")
    process = psutil.Process(api.pid)
    before = process.memory_info().rss
    for _ in range(3):
        with Wire(settings.http_port) as wire:
            wire.send(HEAD + b"X: ")
            taken = sum(1 for _ in range(10) if wire.send(b"v" * MEGABYTE))
            assert taken < 10
            assert _answers(settings.http_port)
    assert process.memory_info().rss - before < 10 * MEGABYTE


def _answers(port: int) -> bool:
    try:
        with Wire(port) as wire:
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return status_of(wire.answer()) == 200
    except ConnectionRefusedError:
        return False


# --- half-open connections ---


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("begin", "statuses"),
    [(b"", None), (HEAD, 408), (HEAD + b"X: v", 408), (POST, 408), (POST + b"x" * 5000, 408)],
)
def test_half_a_request_that_stalls_is_closed(server: BareServer, begin: bytes, statuses: int | None) -> None:
    with server.connect() as wire:
        wire.send(begin)
        answer = wire.until_closed()
    assert (status_of(answer) if answer else None) == statuses
    wait_until(lambda: server.connections() == 0, what="the connection to end")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begin", [HEAD + b"X: ", POST])
def test_a_byte_now_and_then_is_no_progress(server: BareServer, begin: bytes) -> None:
    with server.connect() as wire:
        wire.send(begin)
        started = time.monotonic()
        while wire.send(b"x"):
            assert time.monotonic() - started < 20, "it would be kept for ever"
            time.sleep(0.05)


def test_slow_body_that_makes_progress_is_taken(server: BareServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN_S", 2.0)
    pieces = 6
    with server.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (pieces * 1024))
        for _ in range(pieces):  # longer than the limit in all
            time.sleep(0.5)
            assert wire.send(b"x" * 1024)
        assert status_of(wire.answer()) == 200


@pytest.mark.usefixtures("impatient")
def test_body_that_goes_on_after_its_answer_is_closed() -> None:
    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await _answer(send, 413, b"no")

    with serving(refuse) as server, server.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert status_of(wire.answer()) == 413
        started = time.monotonic()
        while wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n"):
            assert time.monotonic() - started < 20, "it would be taken for ever"
            time.sleep(0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "request_head", [HEAD + b"\r\n", POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")]
)
def test_client_that_waits_for_us_is_not_cut(request_head: bytes) -> None:
    """For an answer, or to be asked for its body."""
    asked, go_on = threading.Event(), threading.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        asked.set()
        await run_in_threadpool(go_on.wait)
        await _answer(send, 200, b"done")

    with serving(slow) as server, server.connect() as wire:
        wire.send(request_head)
        assert asked.wait(20)
        time.sleep(1.5)  # three times the limit
        go_on.set()
        assert status_of(wire.answer()) == 200


@pytest.mark.usefixtures("impatient")
def test_websocket_is_not_taken_for_half_open(server: BareServer) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as client:
        time.sleep(1.5)  # three times the limit
        client.send("still here")
        assert client.recv(20) == "still here"


# --- answers that are not read ---


async def _endless(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(200):
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_answer_that_nothing_is_taken_of_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN_S", 0.2)  # how often it looks
    monkeypatch.setattr(protocol, "UNREAD_S", 1.0)
    with serving(_endless) as server, server.connect(receive_buffer=2048) as wire:
        wire.send(HEAD + b"\r\n")
        wait_until(lambda: server.connections() == 1, what="the connection")
        wait_until(lambda: server.connections() == 0, timeout=20, what="the connection to be cut")


def test_slow_reader_of_a_long_answer_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HALF_OPEN_S", 0.5)
    monkeypatch.setattr(protocol, "UNREAD_S", 2.0)
    with serving(_endless) as server, server.connect(receive_buffer=65536) as wire:
        wire.send(HEAD + b"Connection: close\r\n\r\n")
        received = 0
        for _ in range(12):  # longer than the limit in all
            time.sleep(0.3)
            received += sum(len(wire.socket.recv(65536)) for _ in range(12))
        received += len(wire.until_closed())
    assert received > 200 * 65536


def test_many_requests_in_one_read_do_not_all_wait_in_memory() -> None:
    app = App()
    with serving(app) as server, server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        wire.until_closed()
        wait_until(lambda: server.connections() == 0, what="the connection to be cut")
    assert app.requests < 1000
