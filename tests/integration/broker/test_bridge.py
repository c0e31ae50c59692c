import asyncio
from collections.abc import Callable
from typing import Any

import aiomqtt
import pytest
from sqlalchemy.orm import Session, sessionmaker

from api.live.broker.bridge import Bridge
from api.live.broker.outgoing import OutgoingPositions
from api.live.metrics import LiveMetrics
from api.live.reader import DatabaseReader
from api.live.watchers.groups import Groups
from core.settings import Settings
from tests.support.services.mosquitto import Broker

TOPIC = "fleet/acme/deliveries/42/status"


async def _until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", ["_on_connect", "_on_subscribe", "_on_unsubscribe"])
def test_bridge_ends_when_cancelled_while_the_broker_answers(
    settings: Settings,
    sessions: sessionmaker[Session],
    session: Session,
    broker: Broker,
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker.rewrite(session)
    groups = Groups(LiveMetrics())
    subscriptions = groups.subscriptions
    original = getattr(aiomqtt.Client, answer)

    to_cancel: list[asyncio.Task[None]] = []

    def answered(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        for task in to_cancel:
            task.cancel()

    monkeypatch.setattr(aiomqtt.Client, answer, answered)

    async def story() -> set[asyncio.Task[None]]:
        bridge = Bridge(settings, groups, OutgoingPositions(), DatabaseReader(sessions))
        task = asyncio.create_task(bridge.run())
        if answer != "_on_connect":
            await _until(lambda: bridge.connected)
        if answer == "_on_unsubscribe":
            subscriptions.acquire(TOPIC)
            await _until(lambda: subscriptions.are_active([TOPIC]))
        to_cancel.append(task)
        if answer == "_on_subscribe":
            subscriptions.acquire(TOPIC)
        elif answer == "_on_unsubscribe":
            subscriptions.release(TOPIC)
        _, running = await asyncio.wait({task}, timeout=10)
        return running

    assert not asyncio.run(story())
