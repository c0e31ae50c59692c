"""A process that sends HTTP requests over a number of connections, each one after the other's answer.

    python -m bench.rest_load PORT CONNECTIONS SECONDS < requests

Each line of standard input is one request, base64; connection k sends lines k, k + n, … in turn. Raw sockets
and one selector, so that it takes little of the machine that it measures. Prints JSON: answers by status,
seconds, and the latencies' percentiles in milliseconds.
"""

import base64
import json
import selectors
import socket
import sys
import time
from collections import Counter


class LoadConnection:
    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests
        self.next = 0
        self.sent_at = 0.0
        self.buffer = b""

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.requests[self.next % len(self.requests)])
        self.next += 1

    def receive(self) -> int | None:
        """The status of a whole answer, or None while it is not whole."""
        data = self.socket.recv(65536)
        if not data:
            raise SystemExit("the server closed a connection")
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return None
        self.buffer = b""
        return int(head[9:12])


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def run(port: int, connections: int, seconds: float, requests: list[bytes]) -> dict[str, object]:
    selector = selectors.DefaultSelector()
    for k in range(connections):
        connection = LoadConnection(port, requests[k::connections])
        connection.socket.setblocking(True)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    started = time.perf_counter()
    for key in list(selector.get_map().values()):
        key.data.send()
    under_way = connections
    while under_way:
        for key, _events in selector.select():
            status = key.data.receive()
            if status is None:
                continue
            now = time.perf_counter()
            statuses[status] += 1
            latencies.append(now - key.data.sent_at)
            if now - started < seconds and key.data.next < len(key.data.requests):
                key.data.send()
            else:
                under_way -= 1
    took = time.perf_counter() - started
    latencies.sort()
    percentiles = {f"p{p}": latencies[len(latencies) * p // 100] * 1000 for p in (50, 95, 99)}
    return {"statuses": statuses, "seconds": took, **percentiles}


def main(port: str, connections: str, seconds: str) -> None:
    requests = [base64.b64decode(line) for line in sys.stdin]
    print(json.dumps(run(int(port), int(connections), float(seconds), requests)))


if __name__ == "__main__":
    main(*sys.argv[1:])
