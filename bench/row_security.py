"""Cost of row-level security per transaction of the API: inside it, and as the owner, alternately.

    python -m bench.row_security [--rounds 2000]

Two transactions, without HTTP and authentication, which are the same for both: a delivery's detail is read,
and a location is posted for it. Among 100,000 deliveries of 20 companies. Medians; a round is one of each.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from bench.services import running_services
from core.access.actors import Actor
from core.database import row_security
from core.database.engine import make_sessions
from core.deliveries import lookup, whereabouts
from core.positions import report
from core.rules.enums import Role
from core.rules.fix import Fix

COMPANIES, DELIVERIES = 20, 5_000
FILL = f"""
INSERT INTO company (slug, name) SELECT 'c' || i, 'C' FROM generate_series(1, {COMPANIES}) i;
INSERT INTO customer (company_id, name) SELECT id, 'C' FROM company;
INSERT INTO driver (company_id, name) SELECT id, 'D' FROM company;
INSERT INTO vehicle (company_id, name) SELECT id, 'V' FROM company;
INSERT INTO delivery (company_id, reference, status, customer_id, driver_id, vehicle_id, pickup_address,
                      dropoff_address, started_at)
SELECT c.id, 'R' || i, CASE i WHEN 1 THEN 'in_transit' ELSE 'delivered' END,
       (SELECT id FROM customer WHERE company_id = c.id), (SELECT id FROM driver WHERE company_id = c.id),
       (SELECT max(id) FROM vehicle WHERE company_id = c.id), 'Street', 'Road', now()
FROM company c, generate_series(1, {DELIVERIES}) i WHERE c.slug <> 'bench';
"""
UNDER_WAY = "SELECT id, company_id FROM delivery WHERE status = 'in_transit' ORDER BY id LIMIT 1"
Work = Callable[[Session, Actor, int], object]


def read(session: Session, actor: Actor, delivery_id: int) -> object:
    return whereabouts.whereabouts(session, lookup.find(session, actor, delivery_id))


def post(session: Session, actor: Actor, delivery_id: int) -> object:
    now = datetime.now(UTC)
    return report.report(session, actor, delivery_id, Fix(fix_time=now, latitude=52.5, longitude=13.4), now)


def took(
    sessions: sessionmaker[Session], work: Work, actor: Actor, delivery_id: int, *, within: bool
) -> float:
    """Microseconds of one transaction. It has begun before, as authentication has in the API."""
    with sessions() as session:
        session.execute(text("SELECT 1"))
        started = time.perf_counter()
        if within:
            row_security.enter(session, actor.company_id)
        work(session, actor, delivery_id)
        session.commit()
        return (time.perf_counter() - started) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2_000)
    rounds = parser.parse_args().rounds
    with running_services(1) as services:
        with services.sessions() as session:
            session.execute(text(FILL))
            session.commit()
            session.execute(text("ANALYZE"))
            delivery_id, company_id = session.execute(text(UNDER_WAY)).one()
            session.commit()
        actor = Actor(company_id=company_id, company_slug="c1", role=Role.MANAGER, user_id=1)
        # Connections of their own: a temporary table belongs to the role that made it.
        engines = {within: create_engine(services.postgres.url("bench")) for within in (False, True)}
        print(f"medians of {rounds} transactions, alternately")
        for name, work in {"detail read": read, "location post": post}.items():
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(rounds):
                for within, engine in engines.items():
                    times[within].append(took(make_sessions(engine), work, actor, delivery_id, within=within))
            outside, inside = median(times[False]), median(times[True])
            more = f"+{inside - outside:.0f} µs"
            print(f"  {name:14} as the owner {outside:6.0f} µs   inside {inside:6.0f} µs   {more}")
        for engine in engines.values():
            engine.dispose()


if __name__ == "__main__":
    main()
