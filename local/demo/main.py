"""`milepost demo`, a child of `milepost up`: the demo fleet at work until it is stopped.

All traffic goes the way of real clients: positions and some drivers' statuses over MQTT, the rest over REST.
After an error the broker links and the REST calls retry with a back-off; no change that a user makes to the
demo's deliveries or devices ends it.
"""

import logging
import threading
import time
from concurrent.futures import Future
from random import Random

import typer
from sqlalchemy.exc import OperationalError

from core.backoff import Backoff
from core.database.engine import make_engine, make_sessions
from core.errors import NotFound
from core.logs import LoggedStates
from core.settings import Settings
from local import settings as local_settings
from local.demo import cast
from local.demo.courier import Courier
from local.demo.dispatch import Dispatch, Listing
from local.demo.errands import Errands
from local.demo.proving import RestProver
from local.demo.reporting import Phone, RestReporter
from local.demo.rest import Away, RequestRefused, Rest
from local.demo.roster import Roster, RosterMember, read_roster
from local.simulator import driving
from local.simulator.fleet import logins
from local.simulator.network import Network
from local.simulator.stopping import stop_on_signals
from local.simulator.tally import SimulationTally
from local.simulator.units import Unit

FIX_EVERY_S = 2.0
DISPATCH_EVERY_S = 5.0
LONGEST_WAIT_S = 0.25

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Run until SIGTERM or Ctrl-C. The password of the logins is ``MILEPOST_DEMO_PASSWORD``."""
    password = local_settings.load().demo_password
    if password is None:
        typer.echo("MILEPOST_DEMO_PASSWORD is not set: `milepost up` runs the demo.", err=True)
        return 1
    with stop_on_signals() as stop:
        try:
            roster = _roster(settings, stop)
        except NotFound:
            typer.echo("There is no demo company in the database: `milepost up` makes it.", err=True)
            return 1
        if roster is not None:
            Demo(settings, password.get_secret_value(), roster).run(stop)
    return 0


def _roster(settings: Settings, stop: threading.Event) -> Roster | None:
    """Read the roster as soon as the database answers; None if stopped before."""
    engine = make_engine(settings, process="demo", pool_size=1)
    backoff = Backoff(limit_s=5.0)
    try:
        while not stop.is_set():
            try:
                with make_sessions(engine)() as session:
                    return read_roster(session)
            except OperationalError:
                log.warning("the database cannot be reached; trying again")
                stop.wait(backoff.next())
    finally:
        engine.dispose()
    return None


class Demo:
    """The couriers on one thread, REST on another."""

    def __init__(
        self,
        settings: Settings,
        password: str,
        roster: Roster,
        *,
        fix_every_s: float = FIX_EVERY_S,
        time_lapse: float = 1.0,
    ) -> None:
        """``time_lapse`` is the number of seconds that the vans drive per second."""
        self.tally = SimulationTally()
        self._settings = settings
        self._password = password
        self._fix_every_s = fix_every_s
        self._time_lapse = time_lapse
        self._rng = Random()  # noqa: S311  # vans, not secrets
        self._network = Network()
        self._errands = Errands()
        self._phones: list[Phone] = []
        self._couriers = {
            member: courier for member in roster.members if (courier := self._courier(member)) is not None
        }
        self._ticked_at: dict[RosterMember, float] = {}
        walk_driver = self._rest(roster.walk.email) if roster.walk else None
        self._dispatch = Dispatch(roster, self._rest(cast.MANAGER[0]), walk_driver, Random())  # noqa: S311
        self._listing: Future[Listing] | None = None
        self._list_at = 0.0
        self._backoff = Backoff(limit_s=3.0)
        self._states = LoggedStates()

    def run(self, stop: threading.Event) -> None:
        now = time.monotonic()
        for number, member in enumerate(self._couriers):
            self._ticked_at[member] = now - number * self._fix_every_s / len(self._couriers)
        log.info("started vehicles=%d", len(self._couriers))
        while not stop.is_set():
            self._step(time.monotonic())
            self._network.loop(min(LONGEST_WAIT_S, self._fix_every_s / 4))
        self._network.close()
        log.info(
            "stopped stored=%d rejected=%d", self.tally.answers["stored"], self.tally.answers["rejected"]
        )

    def _step(self, now: float) -> None:
        for phone in self._phones:
            phone.send_due()
        for member, courier in self._couriers.items():
            courier.step(now)
            dt_s = now - self._ticked_at[member]
            if dt_s >= self._fix_every_s:
                self._ticked_at[member] = now
                courier.unit.tick(dt_s * self._time_lapse)
        self._manage(now)

    def _manage(self, now: float) -> None:
        if self._listing is None and now >= self._list_at:
            self._listing = self._errands.send(self._dispatch.refill)
        elif self._listing is not None and self._listing.done():
            self._list_at = now + self._assign(self._listing)
            self._listing = None

    def _assign(self, answer: Future[Listing]) -> float:
        """Give the couriers their deliveries; return the seconds until the next listing."""
        try:
            listing = answer.result()
        except (Away, RequestRefused) as error:
            if self._states.begin("api_away", str(error), time.monotonic()) is not None:
                log.warning("the API: %s; trying again", error)
            return self._backoff.next()
        self._backoff.reset()
        self._states.end("api_away", time.monotonic())
        for member, courier in self._couriers.items():
            courier.take(listing.of(member), listing.listed_at)
        return DISPATCH_EVERY_S

    def _courier(self, member: RosterMember) -> Courier | None:
        if member.unit is None:
            return None
        (login,) = logins(self._settings, [member.unit])
        home = cast.RouteStop("", member.crew.start)
        place = member.last or (home.latitude, home.longitude)
        unit = Unit(login, driving.parked_at(*place, self._rng, member.odometer_m), self.tally, self._rng)
        self._network.add(unit.link)
        prover = RestProver(self._rest(member.email), self._errands)
        return Courier(member.crew.driver, unit, self._reporter(member), prover, self._rng)

    def _reporter(self, member: RosterMember) -> Phone | RestReporter:
        if not member.crew.phone or member.phone is None:
            return RestReporter(self._rest(member.email), self._errands)
        (login,) = logins(self._settings, [member.phone])
        phone = Phone(login)
        self._network.add(phone.link)
        self._phones.append(phone)
        return phone

    def _rest(self, email: str) -> Rest:
        url = f"http://{self._settings.http_host}:{self._settings.http_port}"
        return Rest(url, email, self._password)
