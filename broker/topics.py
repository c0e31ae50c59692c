"""Every topic, built and parsed in one place. Pure.

Builders raise `TopicError` on an invalid id, so no user input can widen a topic; parsers return ``None`` for
any topic that is not exactly one of ours.
"""

import re

import msgspec

from core.identities import DEVICE_ID, SHARDS, SLUG

FORMAT = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
WORD = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

ALL_DOWN = "down/#"
ALL_FACTS = "fleet/#"
_SHARDS = frozenset(SHARDS)


class TopicError(ValueError):
    """An id that must never become part of a topic."""


class UpTopic(msgspec.Struct, frozen=True, gc=False):
    """The topic of a device's message. ``rest`` is an app's suffix to the format (``event``), or ``""``."""

    shard: str
    device: str
    format: str
    rest: str = ""


class VehicleTopic(msgspec.Struct, frozen=True, gc=False):
    """The topic of a vehicle's newest position."""

    company: str
    vehicle: int


class DeliveryTopic(msgspec.Struct, frozen=True, gc=False):
    """The topic of a delivery's status."""

    company: str
    delivery: int


class AlertTopic(msgspec.Struct, frozen=True, gc=False):
    """The topic of the alerts of one kind about one vehicle."""

    company: str
    kind: str
    vehicle: int


FleetTopic = VehicleTopic | DeliveryTopic | AlertTopic


def up(shard: str, device: str, format: str) -> str:
    return f"up/{_shard(shard)}/{_clean(device, DEVICE_ID)}/{_clean(format, FORMAT)}"


def reply(device: str) -> str:
    return f"down/{_clean(device, DEVICE_ID)}/reply"


def command(device: str) -> str:
    return f"down/{_clean(device, DEVICE_ID)}/command"


def own_down(device: str) -> tuple[str, ...]:
    """Return the filters that a device may subscribe to, word for word."""
    return reply(device), command(device), f"down/{_clean(device, DEVICE_ID)}/#"


def position(company: str, vehicle: int) -> str:
    return f"fleet/{_clean(company, SLUG)}/vehicles/{_number(vehicle)}/position"


def status(company: str, delivery: int) -> str:
    return f"fleet/{_clean(company, SLUG)}/deliveries/{_number(delivery)}/status"


def alert(company: str, kind: str, vehicle: int) -> str:
    return f"fleet/{_clean(company, SLUG)}/alerts/{_clean(kind, WORD)}/{_number(vehicle)}"


def shard_filter(shard: str) -> str:
    """Return the filter that the ingest session of one shard subscribes to."""
    return f"up/{_shard(shard)}/+/#"


def company_filter(company: str) -> str:
    """Return the filter for all facts of one company: an operator's wildcard."""
    return f"fleet/{_clean(company, SLUG)}/#"


def parse_up(topic: str) -> UpTopic | None:
    """Parse ``up/{shard}/{device}/{format}[/rest]``; on ingest's hot path."""
    parts = topic.split("/", 4)
    if len(parts) < 4 or parts[0] != "up" or parts[1] not in _SHARDS:
        return None
    if DEVICE_ID.fullmatch(parts[2]) is None or FORMAT.fullmatch(parts[3]) is None:
        return None
    return UpTopic(*parts[1:])


def up_device(topic: str) -> str | None:
    """Return the device of ``up/{shard}/{device}/…``, even if the rest of the topic is not one of ours."""
    match topic.split("/", 3):
        case ["up", shard, device, *_rest] if shard in _SHARDS and DEVICE_ID.fullmatch(device):
            return device
    return None


def parse_fleet(topic: str) -> FleetTopic | None:
    """Parse a fact's topic, of any of the three kinds."""
    match topic.split("/"):
        case ["fleet", company, "vehicles", vehicle, "position"] if _are_ids(company, vehicle):
            return VehicleTopic(company, int(vehicle))
        case ["fleet", company, "deliveries", delivery, "status"] if _are_ids(company, delivery):
            return DeliveryTopic(company, int(delivery))
        case ["fleet", company, "alerts", kind, vehicle] if WORD.fullmatch(kind) and _are_ids(
            company, vehicle
        ):
            return AlertTopic(company, kind, int(vehicle))
    return None


def _are_ids(company: str, number: str) -> bool:
    return SLUG.fullmatch(company) is not None and NUMBER.fullmatch(number) is not None


def _clean(value: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise TopicError(f"{value!r:.80} cannot stand in a topic")
    return value


def _shard(value: str) -> str:
    if value not in _SHARDS:
        raise TopicError(f"{value!r:.80} is not a shard")
    return value


def _number(value: int) -> int:
    # A bool is an int in Python, and would read as "True" in a topic.
    if type(value) is not int or value < 1:
        raise TopicError(f"{value!r:.80} is not an id")
    return value
