"""A GPS unit in a driving van: sends fixes as fast as ingest takes them, and buffers the others."""

import time
from datetime import UTC, datetime
from random import Random

from broker.connection import BrokerLogin
from local.simulator import driving
from local.simulator.device_link import DeviceLink
from local.simulator.driving import Reading, SimulatedVan
from local.simulator.outgoing import OutgoingFixes
from local.simulator.tally import SimulationTally

FORMAT = "location"


class Unit:
    """The trip planner may replace ``van`` between ticks."""

    def __init__(self, login: BrokerLogin, van: SimulatedVan, tally: SimulationTally, rng: Random) -> None:
        self.van = van
        self.outgoing = OutgoingFixes()
        self.link = DeviceLink(login, self._answered)
        self.link.on_ready = self.send
        self.link.on_lost = self.outgoing.disconnected
        self.was_ready = False
        self._held: tuple[Reading, ...] = ()
        self._tally = tally
        self._rng = rng

    @property
    def held(self) -> int:
        """Return the number of fixes held until the van leaves the tunnel."""
        return len(self._held)

    def tick(self, dt_s: float, now: datetime | None = None) -> None:
        """Drive on, measure, and send whatever is due."""
        self.van = driving.advance(self.van, dt_s, self._rng)
        self.van, reading = driving.read(self.van, now or _clock(), self._rng)
        self._tally.made += 1
        self._held, ready = driving.transmit(self._held, reading, self.van.in_tunnel)
        if ready:
            self.outgoing.add(ready)
            self.send()

    def send(self) -> None:
        """Send what is due, unanswered messages included; call it regularly even without new fixes."""
        if not self.link.ready:
            return
        self.was_ready = True
        now = time.monotonic()
        for message in self.outgoing.due(now):
            self.link.publish(FORMAT, message.payload, message.correlation)
            self._tally.sent += message.fixes
            if message.first_sent != now:
                self._tally.resent += message.fixes

    def _answered(self, correlation: bytes, payload: bytes) -> None:
        settled = self.outgoing.settle(correlation, payload, time.monotonic())
        if settled is not None:
            self._tally.settle(settled)
            self.send()


def _clock() -> datetime:
    """Return the time to the millisecond, as GPS units report it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
