"""A process that sends fixes at a steady rate as many devices, and measures how long each answer takes.

    python -m bench.reply_load HOST PORT MQTT_KEY RATE DEVICE…

It sends by the clock, whatever is answered: a fix that should have gone at 10:00:00.005 is measured from
then, so a stall is seen by every fix that was due in it. It runs until standard input ends, waits for what
is still to be answered, and prints JSON: one ``[due, seconds]`` a fix, by the clock of `time.perf_counter`
(which all processes of a Linux machine share); seconds is null for a fix that was never answered.
"""

import json
import selectors
import socket
import sys
import time
from datetime import UTC, datetime

import mqtt5

from broker import topics
from core.identities import mqtt_secret, shard_of

ANSWERED_WITHIN_S = 30.0


class Asker:
    """One device: it asks to be answered, with the time at which the fix was due as correlation."""

    def __init__(self, host: str, port: int, key: str, device: str, number: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.topic = topics.up(shard_of(device), device, "location")
        self.reply = topics.reply(device)
        self.number = number
        self.sent = 0
        self.buffer = b""
        password = mqtt_secret(key, device).encode()
        connect = mqtt5.ConnectPacket(device, username=device, password=password, clean_start=True)
        self.socket.sendall(connect.write())
        self._expect(mqtt5.ConnAckPacket)
        self.socket.sendall(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter(self.reply)]).write())
        self._expect(mqtt5.SubAckPacket)

    def _expect(self, kind: type) -> None:
        answer, _size = mqtt5.read(memoryview(self.socket.recv(4096)))
        if not isinstance(answer, kind):
            raise SystemExit(f"refused: {answer}")

    def send(self, due: float) -> None:
        self.sent += 1
        payload = b'{"fix_time":"%b","latitude":%.7f,"longitude":%.7f,"speed_kmh":40.5,"accuracy_m":4.5}' % (
            datetime.now(UTC).isoformat().encode(),
            52 + self.number / 1000,
            5 + self.sent / 1e5,
        )
        packet = mqtt5.PublishPacket(
            self.topic,
            payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            packet_id=self.sent % 65_000 + 1,
            response_topic=self.reply,
            correlation_data=repr(due).encode(),
        )
        self.socket.sendall(packet.write())

    def receive(self) -> list[float]:
        """When the fixes were due that have just been answered."""
        self.buffer += self.socket.recv(65536)
        view, position, answered = memoryview(self.buffer), 0, []
        while position < len(view):
            try:
                packet, size = mqtt5.read(view[position:])
            except IndexError:
                break
            position += size
            if isinstance(packet, mqtt5.PublishPacket) and packet.correlation_data is not None:
                if b'"stored"' not in bytes(packet.payload or b""):
                    raise SystemExit(f"not stored: {packet.payload!r}")
                answered.append(float(packet.correlation_data))
        self.buffer = self.buffer[position:]
        return answered


def run(askers: list[Asker], rate: float) -> list[tuple[float, float | None]]:
    selector = selectors.DefaultSelector()
    for asker in askers:
        selector.register(asker.socket, selectors.EVENT_READ, asker)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    waiting: set[float] = set()
    samples: list[tuple[float, float | None]] = []
    began = due = time.perf_counter()
    number, end = 0, None
    while end is None or (waiting and time.perf_counter() < end):
        while end is None and due <= time.perf_counter():
            askers[number % len(askers)].send(due)
            waiting.add(due)
            number += 1
            due = began + number / rate
        wait_s = max(0.0, due - time.perf_counter()) if end is None else 0.1
        for key, _events in selector.select(wait_s):
            if key.data is None:
                selector.unregister(sys.stdin)
                end = time.perf_counter() + ANSWERED_WITHIN_S
                continue
            now = time.perf_counter()
            for asked in key.data.receive():
                waiting.discard(asked)
                samples.append((asked, now - asked))
    return samples + [(asked, None) for asked in waiting]


def main(host: str, port: str, key: str, rate: str, *devices: str) -> None:
    askers = [Asker(host, int(port), key, device, number) for number, device in enumerate(devices)]
    print("ready", flush=True)
    print(json.dumps(run(askers, float(rate))))


if __name__ == "__main__":
    main(*sys.argv[1:])
