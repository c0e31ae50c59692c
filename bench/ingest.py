"""How many fixes per second go from the devices' sockets to committed rows, beside a bare subscriber.

    python -m bench.ingest [--fixes 200000] [--devices 200] [--loaders 1]

Two measurements in one run, with the same load, broker and access control: ingest (decode, store, publish the
facts, acknowledge; until every row is committed), and ``mosquitto_sub`` at QoS 1, which only drains.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from bench.services import WATCHER, BenchServices, ingest, running_services
from core.identities import mqtt_secret

LIMIT_S = 300


@contextmanager
def loaders(services: BenchServices, fixes: int, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Load processes, connected and encoded, waiting for ``go``."""
    share = fixes // len(services.devices)
    started = []
    for k in range(count):
        command = [
            sys.executable,
            "-m",
            "bench.load",
            "127.0.0.1",
            str(services.mosquitto.port),
            services.mqtt_key,
        ]
        started.append(
            subprocess.Popen(
                [*command, str(share), *services.devices[k::count]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for process in started:
            if _line(process) != "ready":
                raise SystemExit("a load process did not come up")
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(processes: list[subprocess.Popen[str]]) -> float:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return time.perf_counter()


def measure_ingest(services: BenchServices, fixes: int, count: int) -> tuple[float, float]:
    """Seconds until all fixes are committed, and until the load had its last PUBACK."""
    with ingest(services) as process, loaders(services, fixes, count) as sending:
        started = _go(sending)
        while _rows(services) < fixes:
            if time.perf_counter() - started > LIMIT_S or process.poll() is not None:
                raise SystemExit(f"only {_rows(services)} of {fixes} fixes were stored")
            time.sleep(0.1)
        took = time.perf_counter() - started
        return took, max(float(_line(one)) for one in sending)


def _rows(services: BenchServices) -> int:
    with services.sessions() as session:
        rows: int = session.execute(text("SELECT count(*) FROM position")).scalar_one()
        return rows


def measure_subscriber(services: BenchServices, fixes: int, count: int) -> float:
    """Seconds until ``mosquitto_sub`` has received all of the same load."""
    command = ["mosquitto_sub", "-V", "5", "-h", "127.0.0.1", "-p", str(services.mosquitto.port), "-q", "1"]
    login = ["-u", WATCHER, "-P", mqtt_secret(services.mqtt_key, WATCHER)]
    with loaders(services, fixes, count) as processes:
        subscriber = subprocess.Popen(
            [
                *command,
                *login,
                "-t",
                "up/+/+/location",
                "-C",
                str(fixes),
                "-D",
                "connect",
                "receive-maximum",
                "5000",
            ],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(1)  # mosquitto_sub does not say when it has subscribed
        started = _go(processes)
        subscriber.wait(LIMIT_S)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fixes", type=int, default=200_000)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--loaders", type=int, default=1)
    options = parser.parse_args()
    fixes = options.fixes - options.fixes % options.devices
    with running_services(options.devices) as services:
        took, sent = measure_ingest(services, fixes, options.loaders)
        drained = measure_subscriber(services, fixes, options.loaders)
    rate, drain_rate = fixes / took, fixes / drained
    print(f"{fixes} fixes, {options.devices} connections, QoS 1, access control on, {os.cpu_count()} cores")
    print(f"  ingest, until all are committed   {rate:10,.0f} fixes/s   (last PUBACK after {sent:.1f} s)")
    print(f"  mosquitto_sub, draining only      {drain_rate:10,.0f} messages/s")
    print(f"  ratio                             {rate / drain_rate:10.2f}")


if __name__ == "__main__":
    main()
