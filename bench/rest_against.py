"""CPU per request of this checkout's API beside another checkout's, in turns within one run.

    python -m bench.rest_against ../before [--rounds 5] [--only location] [--connections 8]

The other folder is a checkout with its own ``.venv``, which understands this one's database. One worker
process, warmed up; CPU of the API and of PostgreSQL together. Believe the ratio, not the milliseconds:
machines and their other load differ.
"""

import argparse
import base64
import json
import statistics
import subprocess
import sys
from itertools import islice
from pathlib import Path

import psutil

from bench.rest import api, manager_token, postgres_pid
from bench.rest_requests import CONNECTIONS, KINDS, RestBench, fill
from bench.services import BenchServices, running_services

HERE = Path(__file__).parents[1]
WARM_UP = 320  # requests: all connections are open, all statements prepared
MAXIMUM_REQUESTS = 30_000


def cpu_ms(services: BenchServices, folder: Path, kind: str, connections: int, seconds: float) -> float:
    """Return the milliseconds of CPU per request of the API in ``folder``."""
    ids, user = fill(services, "pending" if kind == "status" else "in_transit")
    with api(services, 1, folder) as (port, process):
        processes = psutil.Process(process.pid), psutil.Process(postgres_pid(services))
        bench = RestBench(port, manager_token(services, user), ids, *processes)
        requests = [base64.b64encode(one) for one in islice(KINDS[kind](bench), MAXIMUM_REQUESTS)]
        _send(port, connections, seconds, requests[:WARM_UP])
        before = sum(bench.cpu_s())
        done = _send(port, connections, seconds, requests[WARM_UP:])
        return (sum(bench.cpu_s()) - before) / done * 1000


def _send(port: int, connections: int, seconds: float, requests: list[bytes]) -> int:
    """Send the requests for at most ``seconds``. Return how many were answered with success."""
    command = [sys.executable, "-m", "bench.rest_load", str(port), str(connections), str(seconds)]
    sent = subprocess.run(command, input=b"\n".join(requests), stdout=subprocess.PIPE, check=True)
    statuses: dict[str, int] = json.loads(sent.stdout)["statuses"]
    if set(statuses) - {"200", "201"}:
        raise SystemExit(f"not every request was done: {statuses}")
    return sum(statuses.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--deliveries", type=int, default=1_920)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--connections", type=int, action="append")
    options = parser.parse_args()
    with running_services(options.deliveries) as services:
        for kind in options.only or KINDS:
            for connections in options.connections or CONNECTIONS:
                found: dict[Path, list[float]] = {options.other.resolve(): [], HERE: []}
                for _ in range(options.rounds):
                    for folder, times in found.items():
                        times.append(cpu_ms(services, folder, kind, connections, options.seconds))
                there, here = (statistics.median(times) for times in found.values())
                print(
                    f"  {kind:9} {connections:3} connections   CPU per request there {there:.2f}, here"
                    f" {here:.2f} ms   ratio {here / there:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
