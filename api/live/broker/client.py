"""aiomqtt's client as the bridge uses it: its queue reports overflow, and each call can be cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiomqtt

from broker.connection import aiomqtt_arguments, login
from core.identities import api_user
from core.settings import Settings

ANSWER_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 20
MAXIMUM_QUEUED = 10_000

Answer = TypeVar("Answer")


class BrokerClient(aiomqtt.Client):
    def __init__(self, settings: Settings, slot: int, on_full_queue: Callable[[], None]) -> None:
        super().__init__(
            **aiomqtt_arguments(login(settings, api_user(slot))),
            clean_start=True,
            keepalive=KEEP_ALIVE_S,
            timeout=ANSWER_TIMEOUT_S,
            queue_type=_queue(on_full_queue),
            max_queued_incoming_messages=MAXIMUM_QUEUED,
        )

    async def _wait_for(self, fut: Awaitable[Answer], timeout: float | None) -> Answer:
        # `asyncio.wait_for` of Python 3.11, which aiomqtt uses, swallows a cancellation that coincides with
        # the broker's answer: the bridge would then run on, and the shutdown would run out of time.
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("the broker did not answer in time") from None


def _queue(on_full: Callable[[], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    """Return a queue class that calls ``on_full`` where aiomqtt's own would log and drop the message."""

    class Incoming(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            if self.full():
                on_full()
            else:
                super().put_nowait(item)

    return Incoming
