"""`milepost simulate`: a fleet of simulated vans, each with a GPS unit of its own on the broker."""

import typer
from sqlalchemy.exc import OperationalError

from broker.connection import BrokerLogin
from core.database.engine import make_engine, make_sessions
from core.errors import NotFound
from core.settings import Settings
from local.simulator.fleet import logins, simulated_units
from local.simulator.simulation import Simulation
from local.simulator.stopping import stop_on_signals

MAXIMUM_VEHICLES = 1_000
MAXIMUM_RATE_HZ = 100.0


def run(
    settings: Settings, vehicles: int, rate_hz: float, company: str = "demo", duration_s: float | None = None
) -> int:
    """Drive until Ctrl-C, SIGTERM or ``duration_s``; return 0 if any fix was answered, else 1."""
    problem = _problem(vehicles, rate_hz)
    if problem:
        typer.echo(problem, err=True)
        return 2
    with stop_on_signals() as stop:
        try:
            units = _units(settings, company, vehicles)
        except NotFound:
            typer.echo(f"There is no company {company!r}: make it with `milepost company add`.", err=True)
            return 1
        except OperationalError as error:
            typer.echo(f"The database cannot be reached: {error.orig}".strip(), err=True)
            return 1
        simulation = Simulation(units, rate_hz, typer.echo)
        simulation.run(stop, duration_s)
    return 0 if simulation.tally.answered else 1


def _problem(vehicles: int, rate_hz: float) -> str | None:
    if not 1 <= vehicles <= MAXIMUM_VEHICLES:
        return f"The number of vehicles must be from 1 to {MAXIMUM_VEHICLES}."
    if not 0 < rate_hz <= MAXIMUM_RATE_HZ:
        return f"The rate must be above 0 and at most {MAXIMUM_RATE_HZ:g} fixes per second and vehicle."
    return None


def _units(settings: Settings, company: str, vehicles: int) -> list[BrokerLogin]:
    engine = make_engine(settings, process="simulate", pool_size=1)
    try:
        with make_sessions(engine).begin() as session:
            units, new = simulated_units(session, company, vehicles)
    finally:
        engine.dispose()
    typer.echo(f"{vehicles} simulated vehicles of {company}, {new} of them new")
    return logins(settings, units)
