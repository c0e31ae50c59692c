"""A process that publishes fixes as many devices, QoS 1, as fast as the broker takes them.

    python -m bench.load HOST PORT MQTT_KEY FIXES DEVICE…

Each device has its own connection and at most 20 fixes in flight. Everything is encoded before the clock
starts: on ``go`` from standard input it sends, and it prints the seconds until the last PUBACK.
"""

import selectors
import socket
import sys
import time
from datetime import UTC, datetime, timedelta

import mqtt5

from broker import topics
from core.identities import mqtt_secret, shard_of

WINDOW = 20


class LoadPublisher:
    """One device: its connection and the packets it still has to send."""

    def __init__(self, host: str, port: int, key: str, device: str, fixes: int, number: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect = mqtt5.ConnectPacket(
            device, username=device, password=mqtt_secret(key, device).encode(), clean_start=True
        )
        self.socket.sendall(connect.write())
        answer, _size = mqtt5.read(memoryview(self.socket.recv(4096)))
        if not isinstance(answer, mqtt5.ConnAckPacket) or answer.reason_code != 0:
            raise SystemExit(f"{device} was refused: {answer}")
        self.packets = _packets(device, fixes, number)
        self.sent = self.acknowledged = 0
        self.buffer = b""

    def send(self) -> None:
        ready = self.packets[self.sent : self.acknowledged + WINDOW]
        if ready:
            self.socket.sendall(b"".join(ready))
            self.sent += len(ready)

    def receive(self) -> bool:
        """Count PUBACKs; True when all fixes are acknowledged."""
        self.buffer += self.socket.recv(65536)
        view, position = memoryview(self.buffer), 0
        while position < len(view):
            try:
                packet, size = mqtt5.read(view[position:])
            except IndexError:
                break
            if not isinstance(packet, mqtt5.PubAckPacket) or int(packet.reason_code) >= 0x80:
                raise SystemExit(f"not acknowledged: {packet}")
            self.acknowledged += 1
            position += size
        self.buffer = self.buffer[position:]
        return self.acknowledged == len(self.packets)


def _packets(device: str, fixes: int, number: int) -> list[bytes]:
    topic = topics.up(shard_of(device), device, "location")
    start = datetime.now(UTC) - timedelta(days=1)
    packets = []
    for i in range(fixes):
        fix_time = (start + timedelta(seconds=i)).isoformat().encode()
        payload = (
            b'{"fix_time":"%b","latitude":%.7f,"longitude":%.7f,"speed_kmh":%.1f,"course_deg":%.1f,'
            b'"accuracy_m":4.5,"battery_percent":88,"ignition":true}'
            % (fix_time, 52 + number / 1000 + i / 1e5, 5 + i / 1e5, 30 + i % 20, i % 360)
        )
        packet_id = i % 65_000 + 1
        packets.append(
            mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()
        )
    return packets


def main(host: str, port: str, key: str, fixes: str, *devices: str) -> None:
    publishers = [
        LoadPublisher(host, int(port), key, device, int(fixes), number)
        for number, device in enumerate(devices)
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    selector = selectors.DefaultSelector()
    for publisher in publishers:
        selector.register(publisher.socket, selectors.EVENT_READ, publisher)
        publisher.send()
    left = len(publishers)
    while left:
        for key_, _events in selector.select():
            publisher = key_.data
            if publisher.receive():
                selector.unregister(publisher.socket)
                left -= 1
            else:
                publisher.send()
    print(f"{time.perf_counter() - started:.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
