"""Requests a second and latencies of the REST API: list, detail, location and status.

    python -m bench.rest [--seconds 8] [--workers 2] [--deliveries 2000] [--only location]

Real PostgreSQL and Mosquitto, real api processes, everything on this machine, loopback only, keep-alive.
Every delivery has a van of its own, so that rows do not contend; every fix is new, every status a change.
The CPU a request takes stands beside, since others may be using the machine.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

import httpx
import msgspec
import psutil
from pydantic import SecretStr
from sqlalchemy import text

from api.auth import tokens
from bench.stage import Stage, stage
from core.settings import Settings
from local.services.ports import free_port

CONNECTIONS = (8, 32)
MAXIMUM_REQUESTS = 60_000  # of one measurement: more are never sent, however fast the server is
FILL = """
WITH people AS (
    INSERT INTO driver (company_id, name) SELECT id, 'Driver' FROM company RETURNING id, company_id
), customers AS (
    INSERT INTO customer (company_id, name) SELECT id, 'Customer' FROM company RETURNING id, company_id
), users AS (
    INSERT INTO app_user (company_id, email, name, role, password_hash)
    SELECT id, 'manager@example.com', 'Manager', 'manager', '-' FROM company
), orders AS (
    INSERT INTO load_order (company_id, reference) SELECT v.company_id, v.name FROM vehicle v
    RETURNING id, company_id, reference
), items AS (
    INSERT INTO load_item (company_id, load_order_id, description, quantity)
    SELECT company_id, id, 'Crate of apples', 2 FROM orders
), made AS (
    INSERT INTO delivery (company_id, reference, customer_id, driver_id, vehicle_id, load_order_id, status,
                          pickup_address, dropoff_address, dropoff_latitude, dropoff_longitude, started_at)
    SELECT v.company_id, 'ORDER-' || v.id, c.id, p.id, v.id, o.id, :status,
           'Alexanderplatz 1, Berlin', 'Am Alten Markt 1, Potsdam', 52.39, 13.06,
           CASE WHEN :status = 'pending' THEN NULL ELSE now() - interval '1 hour' END
    FROM vehicle v JOIN people p USING (company_id) JOIN customers c USING (company_id)
         JOIN orders o ON o.reference = v.name
    ORDER BY v.id RETURNING id, company_id, status, vehicle_id, driver_id
)
INSERT INTO delivery_checkpoint (company_id, delivery_id, kind, status, vehicle_id, driver_id, occurred_at,
                                 recorded_at)
SELECT company_id, id, 'status', status, vehicle_id, driver_id, now(), now() FROM made
"""
Made = Iterator[bytes]


class Bench(msgspec.Struct):
    """A running API, the deliveries to ask for, and a manager's token."""

    port: int
    token: str
    deliveries: list[int]
    api: psutil.Process
    postgres: psutil.Process

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of CPU used so far by the API's processes and by PostgreSQL's."""
        return _cpu_s(self.api), _cpu_s(self.postgres)


def _cpu_s(parent: psutil.Process) -> float:
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


@contextmanager
def api(made: Stage, workers: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    environment = made.environment | {"MILEPOST_HTTP_PORT": str(port), "MILEPOST_API_PROCESSES": str(workers)}
    environment |= {"MILEPOST_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "-m", "milepost", "api"], env={**os.environ, **environment})
    try:
        _wait_ready(port)
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def _wait_ready(port: int) -> None:
    for _ in range(300):
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz")
            if answer.status_code == 200 and answer.json()["live"] == "connected":
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the API did not come up")


def _request(bench: Bench, method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{bench.port}\r\nAuthorization: Bearer {bench.token}\r\n"
    )
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def lists(bench: Bench) -> Made:
    while True:
        yield _request(bench, "GET", "/deliveries/?limit=50")


def details(bench: Bench) -> Made:
    while True:
        for delivery in bench.deliveries:
            yield _request(bench, "GET", f"/deliveries/{delivery}/")


def locations(bench: Bench) -> Made:
    """Each delivery's fixes go forward in time by 20 s and about 150 m."""
    start, i = datetime.now(UTC) - timedelta(minutes=50), 0
    while True:
        for delivery in bench.deliveries:
            fix = {"latitude": 52 + delivery % 100 / 500 + i * 0.0014, "longitude": 13.1, "speed_kmh": 27.0}
            body = fix | {"fix_time": start + timedelta(seconds=20 * i), "accuracy_m": 4.5}
            yield _request(bench, "POST", f"/deliveries/{delivery}/location/", body)
        i += 1


def statuses(bench: Bench) -> Made:
    """Every delivery's whole life, once, over one connection: as many deliveries as divide evenly."""
    even = len(bench.deliveries) // max(CONNECTIONS) * max(CONNECTIONS)
    for status in ("pickup_in_progress", "in_transit", "delivered"):
        for delivery in bench.deliveries[:even]:
            yield _request(bench, "POST", f"/deliveries/{delivery}/status/", {"status": status})


KINDS: dict[str, Callable[[Bench], Made]] = {
    "list": lists,
    "detail": details,
    "location": locations,
    "status": statuses,
}


def fill(made: Stage, status: str) -> tuple[list[int], int]:
    """A delivery for each van; gives their ids and the manager's."""
    with made.sessions() as session:
        for table in ("outbox", "notification", "delivery_checkpoint", "delivery", "load_order", "app_user"):
            session.execute(text(f"TRUNCATE {table} RESTART IDENTITY CASCADE"))
        for table in ("driver", "customer"):
            session.execute(text(f"TRUNCATE {table} RESTART IDENTITY CASCADE"))
        session.execute(text(FILL), {"status": status})
        session.commit()
        session.execute(text("ANALYZE"))
        session.commit()
        ids = list(session.execute(text("SELECT id FROM delivery ORDER BY id")).scalars())
        return ids, session.execute(text("SELECT id FROM app_user")).scalar_one()


def _token(made: Stage, user_id: int) -> str:
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(made.postgres.url("bench")),
        mqtt_url=made.mosquitto.url,
        mqtt_key=SecretStr(made.mqtt_key),
        jwt_key=SecretStr(made.jwt_key),
        access_token_minutes=600,
    )
    return tokens.issue(settings, tokens.TokenKind.ACCESS, user_id, 1, datetime.now(UTC))


def _pid(made: Stage) -> int:
    assert made.postgres.process is not None
    return made.postgres.process.pid


def measure(bench: Bench, kind: str, connections: int, seconds: float) -> None:
    requests = list(islice(KINDS[kind](bench), MAXIMUM_REQUESTS))
    lines = b"\n".join(base64.b64encode(request) for request in requests)
    command = [sys.executable, "-m", "bench.rest_load", str(bench.port), str(connections), str(seconds)]
    before = bench.cpu_s()
    answer = json.loads(subprocess.run(command, input=lines, stdout=subprocess.PIPE, check=True).stdout)
    total = sum(answer["statuses"].values())
    api_ms, postgres_ms = ((b - a) / total * 1000 for a, b in zip(before, bench.cpu_s(), strict=True))
    print(
        f"  {kind:9} {connections:3} connections {total / answer['seconds']:8,.0f} requests/s"
        f"   p50 {answer['p50']:6.1f}   p95 {answer['p95']:6.1f}   p99 {answer['p99']:6.1f} ms"
        f"   CPU a request: API {api_ms:.2f}, PostgreSQL {postgres_ms:.2f} ms   {answer['statuses']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--deliveries", type=int, default=2_000)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--connections", type=int, action="append")
    options = parser.parse_args()
    print(f"{options.workers} api workers, {options.deliveries} deliveries, {os.cpu_count()} cores")
    with stage(options.deliveries) as made:
        for kind in options.only or KINDS:
            for connections in options.connections or CONNECTIONS:
                ids, user = fill(made, "pending" if kind == "status" else "in_transit")
                with api(made, options.workers) as (port, process):
                    api_process, postgres = psutil.Process(process.pid), psutil.Process(_pid(made))
                    bench = Bench(port, _token(made, user), ids, api_process, postgres)
                    measure(bench, kind, connections, options.seconds)


if __name__ == "__main__":
    main()
