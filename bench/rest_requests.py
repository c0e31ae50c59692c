"""The requests of `bench.rest`, and the deliveries that they are about."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import psutil
from sqlalchemy import text

from bench.services import BenchServices

CONNECTIONS = (8, 32)
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
Requests = Iterator[bytes]


class RestBench(msgspec.Struct):
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


def _request(bench: RestBench, method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{bench.port}\r\nAuthorization: Bearer {bench.token}\r\n"
    )
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def lists(bench: RestBench) -> Requests:
    while True:
        yield _request(bench, "GET", "/deliveries/?limit=50")


def details(bench: RestBench) -> Requests:
    while True:
        for delivery in bench.deliveries:
            yield _request(bench, "GET", f"/deliveries/{delivery}/")


def locations(bench: RestBench) -> Requests:
    """Each delivery's fixes go forward in time by 20 s and about 150 m."""
    start, i = datetime.now(UTC) - timedelta(minutes=50), 0
    while True:
        for delivery in bench.deliveries:
            fix = {"latitude": 52 + delivery % 100 / 500 + i * 0.0014, "longitude": 13.1, "speed_kmh": 27.0}
            body = fix | {"fix_time": start + timedelta(seconds=20 * i), "accuracy_m": 4.5}
            yield _request(bench, "POST", f"/deliveries/{delivery}/location/", body)
        i += 1


def statuses(bench: RestBench) -> Requests:
    """Every delivery's whole life, once, over one connection: as many deliveries as divide evenly."""
    even = len(bench.deliveries) // max(CONNECTIONS) * max(CONNECTIONS)
    for status in ("pickup_in_progress", "in_transit", "delivered"):
        for delivery in bench.deliveries[:even]:
            yield _request(bench, "POST", f"/deliveries/{delivery}/status/", {"status": status})


KINDS: dict[str, Callable[[RestBench], Requests]] = {
    "list": lists,
    "detail": details,
    "location": locations,
    "status": statuses,
}


def fill(services: BenchServices, status: str) -> tuple[list[int], int]:
    """A delivery for each van; gives their ids and the manager's."""
    with services.sessions() as session:
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
