"""What removing old fixes does to devices: how long `stored` takes before, during and after.

    python -m bench.drop_month [--rows 10000000] [--seconds 20] [--rate 300] [--plain] [--reader 3]

A real ingest process stores a steady stream of fixes of many devices. Meanwhile the retention job first drops
a month of ``--rows`` fixes, then deletes a tenth as many rows of a company that keeps less, in its small
transactions. Ratios are against the stretch before, in the same run. ``--plain`` drops the month while it is
still part of the table, for comparison; ``--reader`` reads `position` for so many seconds while it is
dropped, as a track or a backup does.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from bench.services import BenchServices, ingest, running_services
from core.database import partitions
from core.models.company import Company
from core.models.fleet import Vehicle
from jobs.tasks.retention import enforce

DEVICES = 50
FILL_VEHICLES = 1_000
LONGEST_DAYS, SHORT_DAYS, IN_BETWEEN_DAYS = 150, 30, 55
FILL = """
INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, speed_kmh, suspect, device_id)
SELECT :first + i % :vehicles, CAST(:start AS timestamptz) + (i / :vehicles) * CAST(:step AS interval),
       52 + (i % 1000) / 1e4, 13 + i / 1e9, :start, 40, false, 'k3v9x0q2ma'
FROM generate_series(0, :rows - 1) i
"""
Window = tuple[str, float, float]
Sample = tuple[float, float | None]


def fill(services: BenchServices, first: int, vehicles: int, start: datetime, days: float, rows: int) -> None:
    """``rows`` fixes from ``start`` on, spread over vehicles and days."""
    step_s = days * 86_400 / max(1, rows // vehicles)
    with services.sessions() as session:
        partitions.make(session, [partitions.month_start(start)])
        known = {"first": first, "vehicles": vehicles, "start": start, "rows": rows, "step": f"{step_s} s"}
        session.execute(text(FILL), known)
        session.commit()


def another_company(services: BenchServices) -> tuple[int, int]:
    """One that keeps fixes as long as the first, for now: its id and its vehicle's."""
    with services.sessions() as session:
        company = Company(slug="short", name="Short")
        session.add(company)
        session.flush()
        vehicle = Vehicle(company_id=company.id, name="Van")
        session.add(vehicle)
        session.execute(text("UPDATE company SET fixes_kept_days = :days"), {"days": LONGEST_DAYS})
        session.commit()
        return company.id, vehicle.id


def keep(services: BenchServices, company_id: int, days: int) -> None:
    with services.sessions.begin() as session:
        query = "UPDATE company SET fixes_kept_days = :days WHERE id = :id"
        session.execute(text(query), {"days": days, "id": company_id})


def settle(services: BenchServices) -> None:
    """What filling leaves behind must not disturb the stretch before."""
    with services.sessions() as session:
        connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        connection.execute(text("VACUUM ANALYZE position"))
        connection.execute(text("CHECKPOINT"))


class FixLoad:
    """The devices: they send until the samples are asked for."""

    def __init__(self, services: BenchServices, rate: float) -> None:
        command = [sys.executable, "-m", "bench.reply_load", "127.0.0.1", str(services.mosquitto.port)]
        self._process = subprocess.Popen(
            [*command, services.mqtt_key, str(rate), *services.devices],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit("the load did not come up")

    def samples(self) -> list[Sample]:
        output, _ = self._process.communicate()
        return [(due, seconds) for due, seconds in json.loads(output)]


def drop_plainly(services: BenchServices) -> str:
    """As one would by hand. Behind a reader it is tried again and again, each time for a short while only."""
    tries = 0
    while True:
        tries += 1
        with services.sessions() as session:
            connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            connection.execute(text("SET lock_timeout = '500ms'"))
            try:
                connection.execute(text(f"DROP TABLE {partitions.present(connection)[0].name}"))
                return f"tries={tries}"
            except Exception as error:
                if "lock timeout" not in str(error):
                    raise
            finally:
                connection.execute(text("RESET lock_timeout"))
        time.sleep(0.5)


def read_for(services: BenchServices, seconds: float) -> None:
    """Read `position` in a transaction of so many seconds."""

    def read() -> None:
        with services.sessions() as session:
            session.execute(text("SELECT max(fix_time) FROM position WHERE vehicle_id = 1"))
            time.sleep(seconds)

    if seconds:
        threading.Thread(target=read).start()
        time.sleep(0.2)


def during(name: str, seconds: float, work: Callable[[], object]) -> Window:
    """Do the work, and measure for at least ``seconds``."""
    began = time.perf_counter()
    result = work()
    took = time.perf_counter() - began
    time.sleep(max(0.0, seconds - took))
    label = f"{name} ({took:.1f} s{f': {result}' if result else ''})"
    return label, began, max(began + took, began + seconds)


def percentile(values: list[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def show(windows: list[Window], samples: list[Sample]) -> None:
    first: tuple[float, float] | None = None
    print(f"  {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'fixes':>7} {'lost':>5}   ratio p50, p99")
    for name, began, ended in windows:
        inside = [seconds for due, seconds in samples if began <= due < ended]
        found = sorted(seconds * 1000 for seconds in inside if seconds is not None)
        p50, p99 = percentile(found, 50), percentile(found, 99)
        first = first or (p50, p99)
        print(
            f"  {p50:8.1f} {p99:8.1f} {found[-1]:8.1f} {len(found):7} {len(inside) - len(found):5}"
            f"   {p50 / first[0]:5.2f} {p99 / first[1]:5.2f}   {name}"
        )


def prepare(services: BenchServices, rows: int) -> int:
    """The month to drop and the rows to delete; gives the company that will keep less."""
    company_id, vehicle_id = another_company(services)
    now = datetime.now(UTC)
    old = partitions.month_start(now, -(LONGEST_DAYS // 28) - 2)
    fill(services, 1_000_000, FILL_VEHICLES, old, 27, rows)
    fill(services, vehicle_id, 1, now - timedelta(days=IN_BETWEEN_DAYS), 20, rows // 10)
    settle(services)
    return company_id


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--reader", type=float, default=0)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    stop = threading.Event()
    with running_services(DEVICES) as services:
        company_id = prepare(services, options.rows)

        def drop() -> object:
            read_for(services, options.reader)
            return drop_plainly(services) if options.plain else enforce(services.sessions, stop)

        with ingest(services):
            load = FixLoad(services, options.rate)
            time.sleep(3)  # until everything is warm
            windows = [during("before", options.seconds, lambda: None)]
            windows.append(during("a month is dropped", options.seconds, drop))
            windows.append(during("after", options.seconds, lambda: None))
            keep(services, company_id, SHORT_DAYS)
            windows.append(during("rows are deleted", 0, lambda: enforce(services.sessions, stop)))
            windows.append(during("after", options.seconds, lambda: None))
            samples = load.samples()
    print(
        f"{options.rows:,} fixes in the month, {options.rate:g} fixes/s of {DEVICES} devices,"
        f" {os.cpu_count()} cores"
    )
    show(windows, samples)


if __name__ == "__main__":
    main()
