"""A device as tests need it: publishes in its own place and reads what it is answered."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from paho.mqtt.client import MQTTMessageInfo
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import topics
from core.identities import shard_of
from tests.support.mqtt_client import MqttClient, connected
from tests.support.services.mosquitto import Broker

_correlations = count(1)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def fix(seconds: float = 0, **values: Any) -> dict[str, Any]:
    """A fix in the native format, this many seconds after two hours ago."""
    fix_time = (START + timedelta(seconds=seconds)).isoformat()
    return {"fix_time": fix_time, "latitude": 52.0 + seconds / 1e5, "longitude": 5.0} | values


class DeviceClient:
    def __init__(self, client: MqttClient, device_id: str) -> None:
        self.client = client
        self.id = device_id
        self._sent: list[MQTTMessageInfo] = []
        assert client.subscribe(topics.reply(device_id), qos=0) == 0

    def topic(self, format_name: str = "location") -> str:
        return topics.up(shard_of(self.id), self.id, format_name)

    def send(self, *payloads: Any) -> None:
        """Publish each (bytes as they are, other values as JSON) and wait for the PUBACKs."""
        for payload in payloads:
            assert self.client.publish(self.topic(), _encoded(payload)) < 0x80

    def send_soon(self, *payloads: Any, format_name: str = "location") -> None:
        """Publish without waiting; `flush` waits."""
        topic = self.topic(format_name)
        self._sent += [self.client.paho.publish(topic, _encoded(payload), 1) for payload in payloads]

    def flush(self, timeout: float = 60.0) -> None:
        for sent in self._sent:
            sent.wait_for_publish(timeout)
            assert sent.is_published()

    def ask(
        self,
        payload: Any,
        format_name: str = "location",
        timeout: float = 15.0,
        correlation: bytes | None = None,
        topic: str | None = None,
    ) -> dict[str, Any]:
        """Publish with a response topic; the reply, as JSON."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = topics.reply(self.id)
        properties.CorrelationData = correlation or str(next(_correlations)).encode()
        self.client.paho.publish(
            topic or self.topic(format_name), _encoded(payload), 1, properties=properties
        )
        _topic, reply, _retain = self.client.receive(timeout)
        answer: dict[str, Any] = json.loads(reply)
        return answer


@contextmanager
def device(broker: Broker, device_id: str, expiry_s: int = 0) -> Iterator[DeviceClient]:
    with connected(broker, device_id, expiry_s=expiry_s) as client:
        yield DeviceClient(client, device_id)


def _encoded(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()
