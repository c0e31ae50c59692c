"""Watch the system's health from this process, every two seconds whether or not a client asks.

Invariants: no check blocks the event loop or uses a request's thread. A database that does not answer within
`ANSWER_WITHIN_S` is itself a finding. The newest report is always at hand and costs its readers nothing.
"""

import asyncio
import logging
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from anyio import to_thread

from api.http.single_flight import SingleFlight
from api.live import Live
from core.database.engine import make_sessions
from core.health import checks, heartbeats, seeing
from core.health.beating import beating, watching_engine
from core.health.checks import BrokerView, View
from core.health.heartbeats import Beat, PartKind, PartState
from core.health.history import History
from core.health.report import HealthReport
from core.health.seeing import DatabaseView
from core.settings import Settings

EVERY_S = 2.0
ANSWER_WITHIN_S = 1.5  # clients are promised an answer within 2 s
CONNECTIONS = 2  # so that readiness and the regular check never wait for each other

log = logging.getLogger(__name__)


class HealthWatch:
    """Run the checks for the lifespan of the app; routes find it as ``app.state.health``."""

    def __init__(self, settings: Settings, live: Live, revision: str | None) -> None:
        self._settings = settings
        self._live = live
        self._engine = watching_engine(settings, "api-health", CONNECTIONS)
        sessions = make_sessions(self._engine)
        self._readiness = SingleFlight(lambda: seeing.database_state(sessions, revision))
        self._look = SingleFlight(lambda: seeing.look(sessions, revision))
        self._disk = SingleFlight(lambda: seeing.disk_of(settings.disk_folder))
        self._history = History()
        self._stack = ExitStack()
        self._report: HealthReport | None = None
        self._watching: asyncio.Task[None] | None = None

    async def database_state(self) -> str:
        """Check the database now. Return `seeing.UP`, `NOT_MIGRATED`, or `AWAY` on a time-out."""
        try:
            return await self._readiness.ask(ANSWER_WITHIN_S)
        except TimeoutError:
            return seeing.AWAY

    async def current(self) -> HealthReport:
        """Return a report that is at most a few seconds old."""
        return self._report or await self._observe()

    async def __aenter__(self) -> Self:
        self._stack.enter_context(beating(self._settings, self._beats))
        self._watching = asyncio.create_task(self._run(), name="health")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        for flight in (self._readiness, self._look, self._disk):
            flight.cancel()
        await to_thread.run_sync(self._stack.close)  # waits briefly for the last heartbeat to be written
        self._engine.dispose()

    async def _run(self) -> None:
        while True:
            try:
                await self._observe()
            except Exception:
                log.exception("health_look_failed")
            await asyncio.sleep(EVERY_S)

    async def _observe(self) -> HealthReport:
        database, disk = await asyncio.gather(self._see_database(), self._see_disk())
        view = View(database=database, broker=_broker_view(self._live), disk=disk)
        now = datetime.now(UTC)
        found = self._history.note(checks.judge(view), now)
        self._report = HealthReport.of(found, heartbeats.me(), now)
        return self._report

    async def _see_database(self) -> DatabaseView | str:
        try:
            return await self._look.ask(ANSWER_WITHIN_S)
        except TimeoutError:
            return f"The database has not answered within {ANSWER_WITHIN_S} s."

    async def _see_disk(self) -> seeing.Disk | None:
        try:
            return await self._disk.ask(ANSWER_WITHIN_S)
        except TimeoutError:
            return None

    def _beats(self) -> list[Beat]:
        fault = self._live.broker_fault
        state = PartState.OK if fault is None else PartState.OFF_BROKER
        return [Beat(part=PartKind.API, name=heartbeats.me(), state=state, detail=fault)]


def _broker_view(live: Live) -> BrokerView:
    figures = live.broker_figures
    return BrokerView(
        user_name=live.user_name,
        fault=live.broker_fault,
        waiting=figures.waiting,
        dropped=figures.dropped,
    )
