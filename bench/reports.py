"""What reports cost: a delivery of a day at a fix per second, as figures, page and PDF; and a fleet's day.

    python -m bench.reports [--vehicles 10]

The day: that many vehicles with a fix per second, and 500 deliveries, read under row-level security as by the
API.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.services import running_services
from core.access.actors import Actor
from core.database import row_security
from core.reporting import daily_report, delivery_report
from core.rules.enums import Role
from reports import rendering
from reports.pages import delivery_page

DELIVERIES, SECONDS = 500, 86_400
FILL = """
INSERT INTO company (slug, name, created_at) VALUES ('reports', 'R', now() - interval '9 days');
INSERT INTO customer (company_id, name) SELECT id, 'C' FROM company WHERE slug = 'reports';
INSERT INTO driver (company_id, name) SELECT id, 'D' FROM company WHERE slug = 'reports';
INSERT INTO vehicle (company_id, name)
SELECT id, 'Report van ' || i FROM company, generate_series(1, :vehicles) i WHERE slug = 'reports';
INSERT INTO delivery (company_id, reference, status, customer_id, driver_id, vehicle_id, pickup_address,
                      dropoff_address, started_at, ended_at, window_end)
SELECT c.id, 'R' || i, 'delivered', u.id, d.id, v.first + i % :vehicles, 'Street', 'Road', :start,
       :start + CASE i WHEN 0 THEN interval '86399 s' ELSE i * interval '2 min' END, :start + interval '9 h'
FROM company c JOIN customer u ON u.company_id = c.id JOIN driver d ON d.company_id = c.id,
     (SELECT min(id) AS first FROM vehicle WHERE name LIKE 'Report van%') v,
     generate_series(0, :deliveries - 1) i
WHERE c.slug = 'reports';
INSERT INTO delivery_checkpoint (company_id, delivery_id, kind, status, vehicle_id, driver_id, occurred_at,
                                 recorded_at)
SELECT company_id, id, 'status', 'pending', vehicle_id, driver_id, :start, :start FROM delivery;
INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect, speed_kmh)
SELECT v.id, CAST(:start AS timestamptz) + i * interval '1 s', 52 + sin(i / 900.0) / 10,
       13 + cos(i / 700.0) / 10, :start, false, 36
FROM vehicle v, generate_series(0, :seconds - 1) i WHERE v.name LIKE 'Report van%';
"""
FIRST = "SELECT d.id, d.company_id FROM delivery d WHERE d.reference = 'R0'"
Result = TypeVar("Result")


def timed(name: str, work: Callable[[], Result]) -> Result:
    started = time.perf_counter()
    result = work()
    print(f"  {name:32} {time.perf_counter() - started:6.2f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vehicles", type=int, default=10)
    vehicles = parser.parse_args().vehicles
    now = datetime.now(UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    with running_services(1) as services, services.sessions() as session:
        session.execute(text("SET statement_timeout = 0"))
        filling = {"vehicles": vehicles, "start": start, "deliveries": DELIVERIES, "seconds": SECONDS}
        session.execute(text(FILL), filling)
        session.commit()
        session.execute(text("ANALYZE"))
        delivery_id, company_id = session.execute(text(FIRST)).one()
        measure(
            session, delivery_id, Actor(company_id=company_id, company_slug="r", role=Role.MANAGER), start
        )


def measure(session: Session, delivery_id: int, actor: Actor, start: datetime) -> None:
    row_security.enter(session, actor.company_id)
    now = datetime.now(UTC)
    report = timed(
        f"delivery: {SECONDS:,} fixes read",
        lambda: delivery_report.generate(session, actor, delivery_id, now),
    )
    print(f"  ({report.driven.fixes:,} fixes, {report.driven.distance_m / 1000:.0f} km)")
    page = timed("its page drawn", lambda: delivery_page.html(report))
    timed("its PDF, with a new process", lambda: anyio.run(rendering.pdf_of, page))
    daily = timed("the fleet's day", lambda: daily_report.find(session, actor, start.date(), now))
    print(f"  ({daily.figures.total.deliveries} deliveries, {daily.figures.distance_m / 1000:.0f} km)")


if __name__ == "__main__":
    main()
