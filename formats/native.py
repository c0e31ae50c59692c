"""Milepost's native format, ``up/{shard}/{device}/location``: one JSON object, or an array of up to 500.

``{"fix_time": ISO 8601 with zone or epoch seconds, "latitude", "longitude", "speed_kmh"?, "course_deg"?,
"altitude_m"?, "accuracy_m"?, "battery_percent"?, "ignition"?, "odometer_m"?, "id"?}``; unknown keys are kept.
For speed, course and accuracy, -1 means unknown.
"""

from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.rules.fix import (
    FLAGS,
    MAY_BE_UNKNOWN,
    MEASUREMENTS,
    RANGES,
    UNKNOWN,
    Fix,
    MessageId,
    Rejection,
    coordinate,
    is_unknown,
    position_problem,
    range_problem,
    time_problem,
)
from core.rules.times.instants import BadInstant, from_epoch_seconds, from_iso
from formats import json_input
from formats.json_input import PayloadRefused
from formats.times import instant

MAXIMUM_ITEMS = 500


def _plain_field(name: str, low: float, high: float) -> tuple[str, Any, None]:
    limits = Meta(ge=UNKNOWN if name in MAY_BE_UNKNOWN else low, le=high)
    return name, Annotated[float, limits] | None, None


# The common message with known keys only, for the fast path: decoded in a quarter of the time of `_fix`. It
# may only be stricter: a payload refused here is decoded again by `_fix`, which decides and gives the reason.
PlainFix = msgspec.defstruct(
    "PlainFix",
    [
        ("fix_time", msgspec.Raw),
        ("latitude", float),
        ("longitude", float),
        *[_plain_field(*limits) for limits in RANGES],
        *[(name, bool | None, None) for name in FLAGS],
        ("id", str | int | None, None),
    ],
    forbid_unknown_fields=True,
    gc=False,
)
_plain_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(PlainFix)
_measurements_of = attrgetter(*MEASUREMENTS)
_decode_instant = msgspec.json.Decoder(datetime | int | float).decode
_decode_text = msgspec.json.Decoder(str).decode
# Includes the quotes. A longer string may have more than six decimals, which msgspec rounds, not truncates.
_LONGEST_EXACT = len('"2026-03-01T12:00:00.123456Z"')
_SEVENTH_DECIMAL = 27
_DIGITS, _BACKSLASH = b"0123456789", ord("\\")


def decode(payload: bytes, device_id: str, now: datetime) -> list[Fix | Rejection]:
    """Return one item per object; a payload refused as a whole (no JSON, too many items) is one rejection."""
    if not is_array(payload):
        return [_item(payload, device_id, now, None)]
    try:
        items = json_input.read_items(payload, MAXIMUM_ITEMS)
    except PayloadRefused as refused:
        return [refused.rejection()]
    return [_item(item, device_id, now, item) for item in items]


def is_array(payload: bytes) -> bool:
    return payload.lstrip()[:1] == b"["


def _item(payload: bytes, device_id: str, now: datetime, raw: bytes | None) -> Fix | Rejection:
    plain = _plain_fix(payload, now)
    if plain is not None:
        return plain
    message_id = None
    try:
        fields = json_input.read_object(payload)
        message_id = json_input.message_id(fields)
        return _fix(fields, device_id, now, message_id)
    except PayloadRefused as refused:
        return refused.rejection(raw, message_id)


def _plain_fix(payload: bytes, now: datetime) -> Fix | None:
    """Return the fix of a plain, valid payload; None leaves the decision to `_fix`."""
    try:
        plain = _plain_decoder.decode(payload)
        fix_time = _plain_instant(plain.fix_time)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadInstant, OverflowError):
        return None
    if plain.id is not None and not _is_plain_id(plain.id):
        return None
    if time_problem(fix_time, now) or position_problem(plain.latitude, plain.longitude):
        return None
    # Negative values are rare: one combined check spares the usual fix a loop.
    has_negative = (
        (plain.speed_kmh or 0.0) < 0.0 or (plain.course_deg or 0.0) < 0.0 or (plain.accuracy_m or 0.0) < 0.0
    )
    if has_negative and not _clear_unknown(plain):
        return None
    latitude, longitude = coordinate(plain.latitude), coordinate(plain.longitude)
    # By position, since names would take as long again as the decoding itself.
    measurements: Any = _measurements_of(plain)
    return Fix(fix_time, latitude, longitude, *measurements, None, plain.id)  # type: ignore[call-arg]


def _clear_unknown(plain: Any) -> bool:
    """Replace -1 (unknown) by None; return False for any other negative value."""
    for name in MAY_BE_UNKNOWN:
        value = getattr(plain, name)
        if is_unknown(name, value):
            setattr(plain, name, None)
        elif value is not None and value < 0.0:
            return False
    return True


def _plain_instant(raw: msgspec.Raw) -> datetime:
    """Return the instant as `core.rules.times.instants` reads it; raises if it is invalid or has no zone."""
    if len(raw) > _LONGEST_EXACT:
        text = bytes(raw)
        # An escape sequence would shift the position of the decimals.
        if text[_SEVENTH_DECIMAL] in _DIGITS or _BACKSLASH in text:
            return from_iso(_decode_text(raw))
    value = _decode_instant(raw)
    if type(value) is datetime:
        zone = value.tzinfo
        if zone is UTC:
            return value
        if zone is None:
            raise BadInstant("has no zone")
        return value.astimezone(UTC)
    return from_epoch_seconds(value)


def _is_plain_id(value: str | int) -> bool:
    text = value if isinstance(value, str) else str(value)
    return len(text) <= json_input.MAXIMUM_ID_LENGTH and "\0" not in text


def _fix(fields: dict[str, Any], device_id: str, now: datetime, message_id: MessageId | None) -> Fix:
    json_input.refuse_other_identity(fields, device_id)
    fix_time = instant(fields.pop("fix_time", None), "fix_time")
    if problem := time_problem(fix_time, now):
        raise PayloadRefused("bad_time", problem)
    latitude = json_input.required_number(fields, "latitude")
    longitude = json_input.required_number(fields, "longitude")
    if problem := position_problem(latitude, longitude):
        raise PayloadRefused("out_of_range", problem)
    return Fix(
        fix_time=fix_time,
        latitude=coordinate(latitude),
        longitude=coordinate(longitude),
        message_id=message_id,
        **_measurements(fields),
        attributes=json_input.attributes(fields),
    )


def _measurements(fields: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: json_input.flag(fields, name) for name in FLAGS}
    for name, low, high in RANGES:
        if name in fields and (value := json_input.number(fields, name)) is not None:
            if is_unknown(name, value):
                continue
            if problem := range_problem(name, value, low, high):
                raise PayloadRefused("out_of_range", problem)
            values[name] = value
    return values
