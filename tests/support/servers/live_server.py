"""The real application in a uvicorn of its own, its WebSocket clients, and a publisher of facts."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.app import create_app
from api.auth import tokens
from api.http.protocol import HttpProtocol
from api.live import Live, WebSocketProtocol
from api.main import MAXIMUM_SOCKET_MESSAGE
from broker import connection, payloads
from core.identities import API_SLOTS, RELAY_USER, api_user
from core.models.people import AppUser
from core.rules.facts import PositionFact, StatusFact
from core.settings import Settings
from tests.support.waiting import wait_until

Event = dict[str, Any]


class LiveServer:
    """One api process, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self._app = create_app(settings)
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=0,
            loop="uvloop",
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MAXIMUM_SOCKET_MESSAGE,
            timeout_graceful_shutdown=5,
            log_level="warning",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def live(self) -> Live:
        live: Live = self._app.state.live
        return live

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started, what="the server to start")
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.wait_connected()

    def wait_connected(self) -> None:
        wait_until(lambda: self.live.connected, what="the bridge to connect")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()

    def call(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` on the server's event loop."""

        async def run() -> Any:
            return function()

        loop = next(iter(self.live._tasks)).get_loop()
        return asyncio.run_coroutine_threadsafe(run(), loop).result(5)

    def subscribed(self) -> set[str]:
        """The topics that the broker has granted this process."""
        active: set[str] = self.call(lambda: set(self.live.groups.subscriptions._active))
        return active

    def connections(self) -> int:
        """Open in uvicorn, whatever the application thinks of them."""
        return len(self._server.server_state.connections)

    def token(self, user: AppUser, now: datetime | None = None) -> str:
        return tokens.issue(
            self.settings, tokens.TokenKind.ACCESS, user.id, user.token_epoch, now or datetime.now(UTC)
        )

    def url(self, delivery: int | str, query: str = "") -> str:
        return f"ws://127.0.0.1:{self.port}/ws/delivery/{delivery}/{query}"

    @contextmanager
    def watch(self, user: AppUser, delivery: int, last: int | None = None) -> Iterator["SocketClient"]:
        """A client with the user's token in the header."""
        query = "" if last is None else f"?last_checkpoint_id={last}"
        with self.connect(delivery, query, header=self.token(user)) as watcher:
            yield watcher

    @contextmanager
    def connect(
        self,
        delivery: int | str,
        query: str = "",
        *,
        header: str | None = None,
        subprotocols: Sequence[str] | None = None,
        sock: socket.socket | None = None,
    ) -> Iterator["SocketClient"]:
        headers: Mapping[str, str] = {"Authorization": f"Bearer {header}"} if header is not None else {}
        with connect(
            self.url(delivery, query),
            additional_headers=headers,
            subprotocols=subprotocols,  # type: ignore[arg-type]
            sock=sock,
            compression=None,
            proxy=None,
        ) as client:
            yield SocketClient(client)


class SocketClient:
    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    def next(self, timeout: float = 5.0) -> Event:
        event: Event = json.loads(self.client.recv(timeout))
        return event

    def say(self, message: str | bytes) -> None:
        self.client.send(message)

    def until_answered(self) -> list[Event]:
        """Everything that was on its way before the answer to a ping."""
        self.say('{"type":"ping"}')
        events = []
        while (event := self.next())["type"] != "pong":
            events.append(event)
        return events

    def close_code(self, timeout: float = 6.0) -> int | None:
        """Read on until the server closes."""
        self.events_until_close(timeout)
        return self.client.close_code

    def close_reason(self) -> str:
        """Return the reason with which the server closed; call `close_code` first."""
        return self.client.close_reason or ""

    def events_until_close(self, timeout: float = 6.0) -> list[Event]:
        events: list[Event] = []
        try:
            while True:
                events.append(self.next(timeout))
        except ConnectionClosed:
            return events


class Publisher:
    """A user of the broker that publishes facts and waits until the broker has them."""

    def __init__(self, settings: Settings) -> None:
        to = connection.login(settings, RELAY_USER)
        self._client = connection.paho_client(to)
        self._client.connect(to.host, to.port)
        self._client.loop_start()
        wait_until(self._client.is_connected, what="the relay to connect")

    def position(self, fact: PositionFact) -> None:
        self._publish(payloads.position_message(fact))

    def status(self, fact: StatusFact) -> None:
        self._publish(payloads.status_message(fact))

    def raw(self, topic: str, payload: bytes) -> None:
        self._publish((topic, payload))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, message: payloads.FactMessage) -> None:
        info: paho.MQTTMessageInfo = self._client.publish(*message, qos=1, retain=True)
        info.wait_for_publish(5)


def retained(settings: Settings, topic: str) -> bytes:
    """The fact that the broker keeps on ``topic``, as the api's last user sees it."""
    to = connection.login(settings, api_user(API_SLOTS - 1))
    client = connection.paho_client(to)
    received: Queue[bytes] = Queue()
    client.on_message = lambda _client, _data, message: received.put(bytes(message.payload))
    client.on_connect = lambda client, *_: client.subscribe(topic)
    client.connect(to.host, to.port)
    client.loop_start()
    try:
        return received.get(timeout=5)
    finally:
        client.disconnect()
        client.loop_stop()
