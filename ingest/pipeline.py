"""The pipeline of a batch: decode → store → publish, reply, acknowledge.

All packets of a batch leave in one write per connection: the newest positions, the replies, the
acknowledgements, in that order. So once the broker has read an acknowledgement, it has read the facts too.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import mqtt5
import msgspec

from broker import payloads, topics
from broker.topics import UpTopic
from core.positions.intake import DeviceAnswer, Report, Result
from core.rules.fix import Fix, Rejection
from formats import registry
from formats.json_input import is_array
from ingest import status_requests
from ingest.connection import Connection
from ingest.metrics import IngestMetrics
from ingest.rate_limit import RateLimit
from ingest.receiver import Message, Receiver
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
    vehicle_id: int | None = None
    reply: bytes | None = None


class Pipeline:
    """The stages that a batch passes through."""

    def __init__(self, receiver: Receiver, sessions: Sessions, metrics: IngestMetrics) -> None:
        self._receiver = receiver
        self._sessions = sessions
        self._metrics = metrics
        self._limit = RateLimit()
        self._reply_limit = RateLimit(REPLY_BYTES_PER_S, REPLY_BURST_BYTES)

    def process(self, batch: Sequence[Message]) -> None:
        """Process a batch in parts of about 5,000 fixes. Raises `storing.DatabaseAway`."""
        self._metrics.messages.inc(len(batch))
        for part in _parts(map(_decode, batch)):
            requests = [message for message in part if _is_request(message)]
            others = [message for message in part if not _is_request(message)]
            facts = _store_fixes(self._sessions, others, self._metrics)
            self._send(others, facts)
            # After the batch's fixes, so that a "delivered" follows the last position before it.
            self._answer_requests(requests)
            self._send(requests, {})

    def _answer_requests(self, requests: Sequence[Decoded]) -> None:
        reports = [message.report for message in requests]
        replies = status_requests.answer_all(self._sessions, reports, self._limit, self._metrics)
        for message, reply in zip(requests, replies, strict=True):
            message.reply = reply

    def _send(self, messages: Sequence[Decoded], facts: dict[int, bytes]) -> None:
        by_connection: dict[Connection, list[Decoded]] = defaultdict(list)
        for message in messages:
            by_connection[message.connection].append(message)
        for connection, theirs in by_connection.items():
            self._receiver.send(connection, b"".join(_outgoing(theirs, facts, self._reply_limit)))


def _is_request(message: Decoded) -> bool:
    return message.topic.format == registry.STATUS and bool(message.report.raw)


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


def _decode(message: Message) -> Decoded:
    connection, packet = message
    # The broker lets a device publish only below its own id, so a topic without a format still names it.
    topic = topics.parse_up(packet.topic) or UpTopic("", topics.up_device(packet.topic) or "", "")
    payload = packet.payload
    report = Report(device_id=topic.device, topic=packet.topic, raw=payload, items=_items(topic, payload))
    return Decoded(connection, packet, topic, report)


def _items(topic: UpTopic, payload: bytes) -> list[Fix | Rejection]:
    """Return the decoded items; an empty payload clears a retained message and is no error."""
    if not payload or topic.format == registry.STATUS:
        return []
    if not topic.format:
        return [Rejection(reason="bad_topic", detail="the topic is not up/{shard}/{device}/{format}")]
    return registry.decode(topic.format, payload, topic.device, datetime.now(UTC))


def _store_fixes(sessions: Sessions, received: Sequence[Decoded], metrics: IngestMetrics) -> dict[int, bytes]:
    """Store the fixes, note each message's vehicle and reply, and return one position packet per vehicle."""
    messages = [message for message in received if message.report.items]
    if not messages:
        return {}
    taken = store(sessions, [message.report for message in messages])
    metrics.count(taken.answers)
    for message, answers, vehicle_id in zip(messages, taken.answers, taken.vehicles, strict=True):
        message.vehicle_id = vehicle_id
        if message.packet.response_topic is not None:
            message.reply = _reply(message, answers)
    return {fact.vehicle: fact_packet(*payloads.position_message(fact)) for fact in taken.facts}


def fact_packet(topic: str, payload: bytes) -> bytes:
    """Return a retained PUBLISH with QoS 0: the next fact replaces it, so a lost one does no harm."""
    return mqtt5.PublishPacket(topic, payload, retain=True).write()


def _reply(message: Decoded, answers: Sequence[DeviceAnswer]) -> bytes:
    replies = [_reply_item(item, answer) for item, answer in zip(message.report.items, answers, strict=True)]
    if is_array(message.report.raw) and _is_item(message.report.items[0]):
        return payloads.replies(replies)
    only = replies[0]
    return payloads.reply(only.result, only.reason, id=only.id)


def _is_item(first: Fix | Rejection) -> bool:
    """Return False for an array refused as a whole: one rejection, without an item's own bytes."""
    return isinstance(first, Fix) or first.raw is not None


def _reply_item(item: Fix | Rejection, answer: DeviceAnswer) -> payloads.Reply:
    return payloads.Reply(id=item.message_id, result=_word(answer.result), reason=answer.reason)


def _word(result: Result) -> payloads.Result:
    return result.value


def _outgoing(
    messages: Sequence[Decoded], facts: dict[int, bytes], reply_limit: RateLimit
) -> Iterator[bytes]:
    vehicle_ids = dict.fromkeys(message.vehicle_id for message in messages)
    yield from (facts[vehicle_id] for vehicle_id in vehicle_ids if vehicle_id in facts)
    for message in messages:
        if (reply := _reply_packet(message)) and reply_limit.allows(message.topic.device, len(reply)):
            yield reply
    yield from _clearings(messages)
    for message in messages:
        if message.packet.packet_id is not None:
            yield mqtt5.PubAckPacket(message.packet.packet_id).write()


def _clearings(messages: Sequence[Decoded]) -> Iterator[bytes]:
    """Yield a packet per retained telemetry topic that clears it."""
    # The messages are stored by now; kept retained, a device could fill the broker, topic by topic.
    retained = [message.packet for message in messages if message.packet.retain and message.packet.payload]
    for topic in dict.fromkeys(packet.topic for packet in retained):
        yield fact_packet(topic, payloads.GONE)


def _reply_packet(message: Decoded) -> bytes | None:
    if message.reply is None or (topic := _reply_topic(message)) is None:
        return None
    return mqtt5.PublishPacket(topic, message.reply, correlation_data=message.packet.correlation_data).write()


def _reply_topic(message: Decoded) -> str | None:
    """Return the response topic if it is the device's own, so that no device makes us publish elsewhere."""
    asked = message.packet.response_topic
    if asked is None or not message.topic.device or asked != topics.reply(message.topic.device):
        return None
    # The broker queues replies that a device does not read, so their size must be bounded.
    correlation = message.packet.correlation_data
    return asked if correlation is None or len(correlation) <= MAXIMUM_CORRELATION_BYTES else None
