"""Requests per second and latencies of the REST API: list, detail, location and status.

    python -m bench.rest [--seconds 8] [--workers 2] [--deliveries 2000] [--only location]

Real PostgreSQL and Mosquitto, real api processes, everything on this machine, loopback only, keep-alive.
Every delivery has a van of its own, so that rows do not contend; every fix is new, every status a change.
The CPU time per request is printed too, since other programs may be using the machine.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import httpx
import psutil
from pydantic import SecretStr

from api.auth import tokens
from bench.rest_requests import CONNECTIONS, KINDS, RestBench, fill
from bench.services import BenchServices, running_services
from core.settings import Settings
from local.services.ports import free_port

MAXIMUM_REQUESTS = 60_000  # of one measurement: more are never sent, however fast the server is


@contextmanager
def api(
    services: BenchServices, workers: int, folder: Path | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the API of this checkout, or of the one in ``folder`` with its own virtual environment."""
    python = sys.executable if folder is None else str(folder / ".venv" / "bin" / "python")
    port = free_port()
    environment = services.environment | {
        "MILEPOST_HTTP_PORT": str(port),
        "MILEPOST_API_PROCESSES": str(workers),
    }
    environment |= {"MILEPOST_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(
        [python, "-m", "milepost", "api"], env={**os.environ, **environment}, cwd=folder
    )
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


def manager_token(services: BenchServices, user_id: int) -> str:
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(services.postgres.url("bench")),
        mqtt_url=services.mosquitto.url,
        mqtt_key=SecretStr(services.mqtt_key),
        jwt_key=SecretStr(services.jwt_key),
        access_token_minutes=600,
    )
    return tokens.issue(settings, tokens.TokenKind.ACCESS, user_id, 1, datetime.now(UTC))


def postgres_pid(services: BenchServices) -> int:
    assert services.postgres.process is not None
    return services.postgres.process.pid


def measure(bench: RestBench, kind: str, connections: int, seconds: float) -> None:
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
        f"   CPU per request: API {api_ms:.2f}, PostgreSQL {postgres_ms:.2f} ms   {answer['statuses']}",
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
    with running_services(options.deliveries) as services:
        for kind in options.only or KINDS:
            for connections in options.connections or CONNECTIONS:
                ids, user = fill(services, "pending" if kind == "status" else "in_transit")
                with api(services, options.workers) as (port, process):
                    api_process, postgres = (
                        psutil.Process(process.pid),
                        psutil.Process(postgres_pid(services)),
                    )
                    bench = RestBench(port, manager_token(services, user), ids, api_process, postgres)
                    measure(bench, kind, connections, options.seconds)


if __name__ == "__main__":
    main()
