"""The bridge: this process's MQTT connection to the broker.

It subscribes only to topics that are being watched, hands facts to the groups, and publishes the positions
that REST handlers committed. On any error it reconnects with full-jitter back-off; then every group reads the
facts it missed from the database. No message handler awaits anything, so the event loop is never blocked.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.subscribeoptions import SubscribeOptions
from sqlalchemy.exc import SQLAlchemyError

from api.live.broker import slots
from api.live.broker.client import BrokerClient
from api.live.broker.outgoing import OutgoingPositions
from api.live.broker.subscriptions import REFUSED_RETRY_S, is_refusal, keep_subscribed
from api.live.reader import DatabaseReader
from api.live.watchers import fan_out
from api.live.watchers.groups import Groups
from broker import figures, payloads, topics
from core.backoff import Backoff
from core.identities import api_user
from core.settings import Settings

CLAIM_CHECK_S = 5.0

log = logging.getLogger(__name__)


class SlotLost(Exception):
    """The claim on our broker user is gone; another process may already be using it."""


class Bridge:
    def __init__(
        self, settings: Settings, groups: Groups, outgoing: OutgoingPositions, reader: DatabaseReader
    ) -> None:
        self.connected = False
        self.fault: str | None = "it has just started"  # why there is no connection, without hosts and ports
        self.gauges = figures.Gauges()
        self._settings = settings
        self._groups = groups
        self._subscriptions = groups.subscriptions
        self._outgoing = outgoing
        self._reader = reader
        self._metrics = groups.metrics
        self._claim: slots.Claim | None = None

    @property
    def user_name(self) -> str | None:
        """Return our broker user; None until a slot is claimed."""
        return api_user(self._claim.slot) if self._claim else None

    async def run(self) -> None:
        """Stay connected to the broker until cancelled; after any error wait and reconnect."""
        backoff = Backoff(limit_s=5)
        try:
            while True:
                try:
                    await self._connection(await self._claimed(), backoff)
                except (aiomqtt.MqttError, OSError, SQLAlchemyError, SlotLost, slots.NoFreeSlot) as error:
                    log.warning("not on the broker error=%s", error)
                    self.fault = _fault_of(error)
                except Exception as error:
                    log.exception("the bridge failed")
                    self.fault = _fault_of(error)
                await asyncio.sleep(backoff.next())
        finally:
            await self._release()

    async def _claimed(self) -> slots.Claim:
        if self._claim is not None and not await asyncio.to_thread(self._claim.holds):
            await self._release()
        if self._claim is None:
            self._claim = await asyncio.to_thread(slots.claim, self._settings)
            log.info("claimed user=%s", self.user_name)
        return self._claim

    async def _release(self) -> None:
        if self._claim is not None:
            released, self._claim = self._claim, None
            await asyncio.to_thread(released.release)

    async def _connection(self, claim: slots.Claim, backoff: Backoff) -> None:
        async with BrokerClient(self._settings, claim.slot, self._on_full_queue) as client:
            log.info("connected user=%s", api_user(claim.slot))
            backoff.reset()
            self._set_connected(True)
            self._groups.mark_all_behind()
            try:
                await _until_one_ends(
                    self._receive(client),
                    keep_subscribed(client, self._subscriptions, self._groups.outdated.set, self._metrics),
                    self._outgoing.publish(client, self._reader),
                    self._subscribe_to_figures(client),
                    self._keep_claim(claim),
                )
            finally:
                self._set_connected(False)
                self._subscriptions.reset()

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        self.fault = None if connected else "the connection was lost"
        self.gauges.reset()
        self._metrics.connected.set(connected)
        if connected:
            self._metrics.connections.inc()

    def _on_full_queue(self) -> None:
        """Note that an incoming message was dropped."""
        # A dropped position is replaced by the next one; dropped statuses are read from the database.
        self._metrics.dropped.inc()
        self._groups.mark_all_behind()

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            try:
                self._handle(message.topic.value, message.payload)
            except payloads.PayloadError as error:
                log.warning("not a fact topic=%s error=%s", message.topic, error)

    def _handle(self, topic: str, payload: Any) -> None:
        """Decode the fact and pass it to the watchers, unless it contradicts its topic."""
        if topic.startswith(figures.ALL):
            self.gauges.note(topic, payload)
            return
        match topics.parse_fleet(topic):
            case topics.VehicleTopic(company, vehicle):
                position = payloads.decode_position(payload)
                if position and (position.company, position.vehicle) == (company, vehicle):
                    fan_out.send_position(self._groups, position)
            case topics.DeliveryTopic(company, delivery):
                status = payloads.decode_status(payload)
                if status and (status.company, status.delivery) == (company, delivery):
                    fan_out.handle_status(self._groups, status)

    async def _subscribe_to_figures(self, client: aiomqtt.Client) -> None:
        """Subscribe to the broker's own figures, and retry while the broker refuses."""
        # A broker set up by an older version refuses these until the jobs process has updated its roles.
        wanted = [(topic, SubscribeOptions(qos=0)) for topic in figures.TOPICS]
        while any(map(is_refusal, await client.subscribe(wanted))):
            await asyncio.sleep(REFUSED_RETRY_S)
        await asyncio.Event().wait()  # `_until_one_ends` ends the connection when this returns

    async def _keep_claim(self, claim: slots.Claim) -> None:
        while await asyncio.to_thread(claim.holds):
            await asyncio.sleep(CLAIM_CHECK_S)
        raise SlotLost(f"the claim on {api_user(claim.slot)} was lost with its database connection")


def _fault_of(error: BaseException) -> str:
    """Return a short description of the error, without hosts and ports."""
    match error:
        case MqttConnectError(rc=code):
            return f"the broker refused it ({code})"
        case aiomqtt.MqttError() | OSError():
            return "the broker cannot be reached"
        case SQLAlchemyError():
            return "the database does not let it claim a user of the broker"
        case SlotLost() | slots.NoFreeSlot():
            return str(error)
    return type(error).__name__


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines; when the first ends or fails, cancel the others and raise its error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
