"""Clients that send more over a WebSocket than a watcher has to say, and handshakes that are too large."""

import json

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from api.live import WebSocketProtocol
from tests.support.servers.bare_server import Wire, status_of
from tests.support.servers.live_server import LiveServer
from tests.support.watched_company import WatchedCompany, house, server

__all__ = ["house", "server"]

FRAMES = 200_000
MASK = b"\x00\x00\x00\x00"
EMPTY_FRAGMENT = b"\x00\x80" + MASK
FLOODS = {
    "empty fragments": (b"\x01\x80" + MASK, EMPTY_FRAGMENT),
    "pings": (b"", b"\x89\x80" + MASK),
    "pongs": (b"", b"\x8a\x80" + MASK),
    "messages": (b"", b"\x81\x81" + MASK + b"x"),
}
UPGRADE = (
    b"GET /ws/delivery/1/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of frames that the server was given to handle, a number per piece that it read."""
    numbers: list[int] = []
    handle = WebSocketProtocol.handle_events

    def counting(protocol: WebSocketProtocol) -> None:
        numbers.append(len(protocol.conn.events))
        handle(protocol)

    monkeypatch.setattr(WebSocketProtocol, "handle_events", counting)
    return numbers


def assert_others_are_answered(server: LiveServer) -> None:
    answer = httpx.get(f"http://127.0.0.1:{server.port}/healthz", timeout=20)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_without_a_token_is_cut_off_in_its_beginning(
    server: LiveServer, house: WatchedCompany, parsed: list[int], kind: str
) -> None:
    begin, frame = FLOODS[kind]
    with Wire(server.port) as wire:
        wire.send(UPGRADE + b"\r\n")
        assert status_of(wire.answer()) == 101
        wire.send(begin + frame * FRAMES)
        assert_others_are_answered(server)
        wire.until_closed()
    assert max(parsed) < 200, "so many hold the event loop up for a millisecond or two"
    assert sum(parsed) < 400


def test_flood_with_a_token_is_cut_off_too(
    server: LiveServer, house: WatchedCompany, parsed: list[int]
) -> None:
    with Wire(server.port) as wire:
        token = server.token(house.customer).encode()
        wire.send(UPGRADE + b"Authorization: Bearer " + token + b"\r\n\r\n")
        assert status_of(wire.answer()) == 101
        wire.send(FLOODS["messages"][1] * FRAMES)
        wire.until_closed()
    assert sum(parsed) < 400


def _until_closed(client: ClientConnection, message: str, most: int) -> int | None:
    """Send until the server has closed, at most so often; gives its code."""
    try:
        for _ in range(most):
            client.send(message)
        while True:
            client.recv(20)
    except ConnectionClosed:
        return client.close_code


def test_too_many_messages_close_1008_and_are_counted(server: LiveServer, house: WatchedCompany) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        assert _until_closed(watcher.client, '{"type":"pong"}', 150) == 1008
    metrics = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    assert 'milepost_live_closed_total{code="1008"} 1.0' in metrics


def test_a_client_that_goes_on_sending_is_not_reset(server: LiveServer, house: WatchedCompany) -> None:
    """A reset would take the close frame from a client that has not read it yet."""
    ping = FLOODS["pings"][1]
    with Wire(server.port) as wire:
        wire.send(UPGRADE + b"\r\n")
        assert status_of(wire.answer()) == 101
        wire.send(ping * 100)
        received = wire.until_closed()
        for _ in range(100):
            wire.socket.sendall(ping)
    assert b"\x03\xf0" in received, "1008"


def test_large_message_instead_of_a_token_closes_1008(server: LiveServer, house: WatchedCompany) -> None:
    with server.connect(house.delivery.id) as watcher:
        assert _until_closed(watcher.client, json.dumps({"type": "auth", "token": "x" * 20_000}), 1) == 1008


def _subprotocols(lines: int, each: int) -> bytes:
    return (b"Sec-WebSocket-Protocol: " + b",".join([b"a"] * each) + b"\r\n") * lines


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"".join(b"X-%d: v\r\n" % number for number in range(130)), 431),
        (_subprotocols(1, 10_000), 431),
        (_subprotocols(5, 2_000), 431),
        (_subprotocols(1, 40), 431),
        (b"X: " + b"v" * 9000 + b"\r\n", 431),
        (b"Content-Length: 5\r\n", 400),
    ],
    ids=["headers", "one long line", "several lines", "few, but too many", "long header", "a body"],
)
def test_handshake_that_is_refused_is_answered_and_closed(
    server: LiveServer, more: bytes, status: int
) -> None:
    with Wire(server.port) as wire:
        wire.send(UPGRADE + more + b"\r\n")
        assert status_of(wire.until_closed()) == status
    assert_others_are_answered(server)


def test_long_path_of_a_handshake_is_refused_too(server: LiveServer) -> None:
    with Wire(server.port) as wire:
        wire.send(UPGRADE.replace(b"/1/", b"/1/?x=" + b"y" * 9000) + b"\r\n")
        assert status_of(wire.until_closed()) == 414
