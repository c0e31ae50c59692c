"""Milepost's own format, ``up/{shard}/{device}/location``: one JSON object, or an array of up to 500.

``{"fix_time": ISO 8601 with zone or epoch seconds, "latitude", "longitude", "speed_kmh"?, "course_deg"?,
"altitude_m"?, "accuracy_m"?, "battery_percent"?, "ignition"?, "odometer_m"?, "id"?}``; unknown keys are kept.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.fixes import RANGES, Fix, Rejection, coordinate, position_problem, range_problem, time_problem
from formats import json_input
from formats.json_input import Refused
from formats.times import instant

MAXIMUM_ITEMS = 500


class PlainFix(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly every message is: known keys only. Read in a quarter of the time of `_fix`.

    It may only be stricter than `_fix`: what it refuses is read again there, which decides and says why.
    """

    fix_time: Annotated[datetime, Meta(tz=True)]
    latitude: float
    longitude: float
    altitude_m: float | None = None
    speed_kmh: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    battery_percent: float | None = None
    ignition: bool | None = None
    odometer_m: float | None = None
    id: str | None = None


_plain_decoder = msgspec.json.Decoder(PlainFix)


def decode(payload: bytes, device_id: str, now: datetime) -> list[Fix | Rejection]:
    """One item an object. A refused whole (no JSON, too many items) is one rejection."""
    if not json_input.is_array(payload):
        return [_item(payload, device_id, now, None)]
    try:
        items = json_input.read_items(payload, MAXIMUM_ITEMS)
    except Refused as refused:
        return [refused.rejection()]
    return [_item(item, device_id, now, item) for item in items]


def _item(payload: bytes, device_id: str, now: datetime, raw: bytes | None) -> Fix | Rejection:
    plain = _plain_fix(payload, now)
    if plain is not None:
        return plain
    message_id = None
    try:
        fields = json_input.read_object(payload)
        message_id = json_input.message_id(fields)
        return _fix(fields, device_id, now, message_id)
    except Refused as refused:
        return refused.rejection(raw, message_id)


def _plain_fix(payload: bytes, now: datetime) -> Fix | None:
    """None: not plain, or not to be taken; `_fix` decides."""
    try:
        plain = _plain_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if plain.id is not None and (len(plain.id) > json_input.MAXIMUM_ID_LENGTH or "\0" in plain.id):
        return None
    if time_problem(plain.fix_time, now) or position_problem(plain.latitude, plain.longitude):
        return None
    for name, low, high in RANGES:
        value = getattr(plain, name)
        if value is not None and not low <= value <= high:
            return None
    return Fix(
        fix_time=plain.fix_time.astimezone(UTC),
        latitude=coordinate(plain.latitude),
        longitude=coordinate(plain.longitude),
        altitude_m=plain.altitude_m,
        speed_kmh=plain.speed_kmh,
        course_deg=plain.course_deg,
        accuracy_m=plain.accuracy_m,
        battery_percent=plain.battery_percent,
        ignition=plain.ignition,
        odometer_m=plain.odometer_m,
        message_id=plain.id,
    )


def _fix(fields: dict[str, Any], device_id: str, now: datetime, message_id: str | None) -> Fix:
    json_input.refuse_other_identity(fields, device_id)
    fix_time = instant(fields.pop("fix_time", None), "fix_time")
    if problem := time_problem(fix_time, now):
        raise Refused("bad_time", problem)
    latitude = json_input.required_number(fields, "latitude")
    longitude = json_input.required_number(fields, "longitude")
    if problem := position_problem(latitude, longitude):
        raise Refused("out_of_range", problem)
    return Fix(
        fix_time=fix_time,
        latitude=coordinate(latitude),
        longitude=coordinate(longitude),
        ignition=json_input.flag(fields, "ignition"),
        message_id=message_id,
        **_measurements(fields),
        attributes=json_input.attributes(fields),
    )


def _measurements(fields: dict[str, Any]) -> dict[str, float]:
    values = {}
    for name, low, high in RANGES:
        if name in fields and (value := json_input.number(fields, name)) is not None:
            if problem := range_problem(name, value, low, high):
                raise Refused("out_of_range", problem)
            values[name] = value
    return values
