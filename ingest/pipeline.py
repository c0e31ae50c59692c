"""The pipeline of a batch: decode → store → publish, reply, acknowledge.

All packets of a batch leave in one write per connection: the newest positions, the replies, the
acknowledgements, in that order. So once the broker has read an acknowledgement, it has read the facts too.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import mqtt5
import msgspec

from broker import payloads, topics
from broker.topics import UpTopic
from core.positions.intake import DeviceAnswer, Report, Taken
from core.rules.facts import PositionFact
from core.rules.fix import Fix, Rejection
from formats import registry
from formats.native import is_array
from ingest import status_requests
from ingest.connection import Connection
from ingest.metrics import IngestMetrics
from ingest.rate_limit import RateLimit
from ingest.receiver import ReceivedMessage, Receiver
from ingest.storing import Sessions, store

BATCH_ITEMS = 5_000
MAXIMUM_CORRELATION_BYTES = 256
# Per device. The broker holds in memory what a device does not read, and bounds only the number of messages.
# A device that catches up and waits for its answers gets those of 100,000 fixes at once, then 1,600 a second.
REPLY_BYTES_PER_S, REPLY_BURST_BYTES = 64.0 * 1024, 4.0 * 1024 * 1024


class Decoded(msgspec.Struct, gc=False):
    """One message in the pipeline: its connection, its decoded content, and the reply to its device."""

    connection: Connection
    packet: mqtt5.PublishPacket
    topic: UpTopic
    report: Report
    is_request: bool
    vehicle_id: int | None = None
    reply: bytes | None = None


class Pipeline:
    """The steps that a batch passes through."""

    def __init__(self, receiver: Receiver, sessions: Sessions, metrics: IngestMetrics) -> None:
        self._receiver = receiver
        self._sessions = sessions
        self._metrics = metrics
        self._limit = RateLimit()
        self._reply_limit = RateLimit(REPLY_BYTES_PER_S, REPLY_BURST_BYTES)

    def process(self, batch: Sequence[ReceivedMessage]) -> None:
        """Process a batch in parts of about 5,000 fixes. Raises `storing.DatabaseAway`."""
        self._metrics.messages.inc(len(batch))
        for part in _parts(map(_decode, batch)):
            telemetry = [message for message in part if message.report.items]
            taken = store(self._sessions, [message.report for message in telemetry])
            if telemetry:
                self._metrics.lag.observe(time.monotonic() - self._receiver.received_at)
            self._metrics.count(taken.answers)
            _note_results(telemetry, taken)
            self._send([message for message in part if not message.is_request], taken.facts)
            # After the batch's fixes, so that a "delivered" follows the last position before it.
            if requests := [message for message in part if message.is_request]:
                self._answer_requests(requests)
                self._send(requests, [])

    def _answer_requests(self, requests: Sequence[Decoded]) -> None:
        reports = [message.report for message in requests]
        replies = status_requests.answer_all(self._sessions, reports, self._limit, self._metrics)
        for message, reply in zip(requests, replies, strict=True):
            message.reply = reply

    def _send(self, messages: Sequence[Decoded], facts: Sequence[PositionFact]) -> None:
        by_vehicle = {fact.vehicle: fact for fact in facts}
        by_connection: dict[Connection, list[Decoded]] = defaultdict(list)
        for message in messages:
            by_connection[message.connection].append(message)
        for connection, sent in by_connection.items():
            self._receiver.send(connection, b"".join(_packets(sent, by_vehicle, self._reply_limit)))


def _parts(messages: Iterator[Decoded]) -> Iterator[list[Decoded]]:
    """Split the messages into parts of at least `BATCH_ITEMS` items each, the last excepted."""
    # Items are counted, not messages: an array may hold 500 fixes.
    part: list[Decoded] = []
    items = 0
    for message in messages:
        part.append(message)
        items += len(message.report.items)
        if items >= BATCH_ITEMS:
            yield part
            part, items = [], 0
    if part:
        yield part


def _decode(message: ReceivedMessage) -> Decoded:
    connection, packet = message
    # The broker lets a device publish only below its own id, so a topic without a format still names it.
    topic = topics.parse_up(packet.topic) or UpTopic("", topics.up_device(packet.topic) or "", "")
    payload, is_status = packet.payload, topic.format == registry.STATUS
    items: list[Fix | Rejection] = []
    # An empty payload clears a retained message and is no error.
    if payload and not is_status:
        items = registry.decode(topic.format, payload, topic.device, datetime.now(UTC))
    report = Report(device_id=topic.device, topic=packet.topic, raw=payload, items=items)
    return Decoded(connection, packet, topic, report, is_request=is_status and bool(payload))


def _note_results(messages: Sequence[Decoded], taken: Taken) -> None:
    """Note each stored message's vehicle, and its reply if its device waits for one."""
    for message, answers, vehicle_id in zip(messages, taken.answers, taken.vehicles, strict=True):
        message.vehicle_id = vehicle_id
        if message.packet.response_topic is not None:
            message.reply = _reply(message, answers)


def _reply(message: Decoded, answers: Sequence[DeviceAnswer]) -> bytes:
    replies = [
        payloads.Reply(id=item.message_id, result=answer.result.value, reason=answer.reason)
        for item, answer in zip(message.report.items, answers, strict=True)
    ]
    if is_array(message.report.raw) and _is_item(message.report.items[0]):
        return payloads.replies(replies)
    only = replies[0]
    return payloads.reply(only.result, only.reason, id=only.id)


def _is_item(first: Fix | Rejection) -> bool:
    """Return False for an array refused as a whole: one rejection, without an item's own bytes."""
    return isinstance(first, Fix) or first.raw is not None


def _packets(
    messages: Sequence[Decoded], facts: dict[int, PositionFact], reply_limit: RateLimit
) -> Iterator[bytes]:
    """Yield the packets for the messages of one connection: facts, replies, clearings, acknowledgements."""
    vehicle_ids = dict.fromkeys(message.vehicle_id for message in messages)
    yield from (fact_packet(facts[vehicle_id]) for vehicle_id in vehicle_ids if vehicle_id in facts)
    for message in messages:
        packet = None if message.reply is None else _reply_packet(message, message.reply)
        if packet is not None and reply_limit.allows(message.topic.device, len(packet)):
            yield packet
    # Retained telemetry is stored by now; kept retained, a device could fill the broker, topic by topic.
    for topic in dict.fromkeys(m.packet.topic for m in messages if m.packet.retain and m.packet.payload):
        yield mqtt5.PublishPacket(topic, payloads.GONE, retain=True).write()
    for message in messages:
        if message.packet.packet_id is not None:
            yield mqtt5.PubAckPacket(message.packet.packet_id).write()


def fact_packet(fact: PositionFact) -> bytes:
    """Return a retained PUBLISH with QoS 0: the next fact replaces it, so a lost one does no harm."""
    return mqtt5.PublishPacket(*payloads.position_message(fact), retain=True).write()


def _reply_packet(message: Decoded, reply: bytes) -> bytes | None:
    if (topic := _reply_topic(message)) is None:
        return None
    return mqtt5.PublishPacket(topic, reply, correlation_data=message.packet.correlation_data).write()


def _reply_topic(message: Decoded) -> str | None:
    """Return the response topic if it is the device's own, so that no device makes us publish elsewhere."""
    asked = message.packet.response_topic
    if asked is None or not message.topic.device or asked != topics.reply(message.topic.device):
        return None
    # The broker queues replies that a device does not read, so their size must be bounded.
    correlation = message.packet.correlation_data
    return asked if correlation is None or len(correlation) <= MAXIMUM_CORRELATION_BYTES else None
