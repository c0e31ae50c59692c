"""The live part of one API process: its groups, its broker connection and its database checks."""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry
from sqlalchemy.orm import Session, sessionmaker

from api.live import close_codes
from api.live.broker.bridge import Bridge
from api.live.broker.outgoing import OutgoingPositions
from api.live.metrics import LiveMetrics
from api.live.reader import DatabaseReader
from api.live.watchers.groups import Groups
from api.live.watchers.watch import CatchUp, Guard
from broker.figures import Figures
from core.rules.facts import PositionFact
from core.settings import Settings

SOCKETS_TIMEOUT_S = 2.0

log = logging.getLogger(__name__)


class Live:
    """Run the live part for the lifespan of the app; the WebSocket route finds it as ``app.state.live``.

    Shutdown order: close the sockets with 1001, disconnect from the broker, release the slot; all within
    ``settings.shutdown_timeout_s``.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = LiveMetrics(registry)
        self.groups = Groups(self.metrics)
        self.reader = DatabaseReader(sessions)
        self.sockets: set[asyncio.Task[None]] = set()
        self.is_stopping = False
        self._outgoing = OutgoingPositions()
        self._bridge = Bridge(settings, self.groups, self._outgoing, self.reader)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """Return whether this process is connected to the broker."""
        return self._bridge.connected

    @property
    def broker_fault(self) -> str | None:
        """Return why this process is not connected to the broker; None while it is."""
        return self._bridge.fault

    @property
    def broker_figures(self) -> Figures:
        """Return the figures that the broker has published about itself."""
        return self._bridge.gauges.read()

    @property
    def user_name(self) -> str | None:
        """Return this process's broker user; None until a slot is claimed."""
        return self._bridge.user_name

    def publish(self, facts: Sequence[PositionFact]) -> None:
        """Queue committed positions for publishing, also while the broker is away.

        Thread-safe and non-blocking.
        """
        self._outgoing.put(facts)

    async def __aenter__(self) -> Self:
        self._outgoing.bind(asyncio.get_running_loop())
        loops = {
            "bridge": self._bridge.run(),
            "catch-up": CatchUp(self.groups, self.reader).run(),
            "guard": Guard(self.groups, self.reader).run(),
        }
        for name, loop in loops.items():
            task = asyncio.create_task(loop, name=f"live-{name}")
            task.add_done_callback(_log_failure)
            self._tasks.append(task)
        log.info("live started")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            async with asyncio.timeout(self.settings.shutdown_timeout_s):
                await self._stop()
        except TimeoutError:
            log.warning("live did not stop within %s s", self.settings.shutdown_timeout_s)
        log.info("live stopped")

    async def _stop(self) -> None:
        self.is_stopping = True
        self.groups.close_all(close_codes.GOING_AWAY)
        if self.sockets:
            await asyncio.wait(self.sockets, timeout=SOCKETS_TIMEOUT_S)
        self._outgoing.unbind()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.reader.close()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s died", task.get_name(), exc_info=error)
