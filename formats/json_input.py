"""Read untrusted JSON: anything invalid raises `PayloadRefused` with its reason."""

from typing import Any

import msgspec

from core.rules.fix import MessageId, Rejection

MAXIMUM_ATTRIBUTES = 64
MAXIMUM_ATTRIBUTES_BYTES = 8 * 1024
MAXIMUM_DEPTH = 8
MAXIMUM_ID_LENGTH = 64
IDENTITY_KEYS = ("device", "device_id")

_decoder = msgspec.json.Decoder()
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class PayloadRefused(Exception):
    """Raised for invalid input: ``reason`` is one stable word, ``detail`` names the field and the remedy."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def rejection(self, raw: bytes | None = None, message_id: MessageId | None = None) -> Rejection:
        return Rejection(reason=self.reason, detail=self.detail, raw=raw, message_id=message_id)


def read_object(payload: bytes) -> dict[str, Any]:
    """Return the payload as one JSON object. Raises `PayloadRefused`."""
    value = _decode(_decoder, payload)
    if type(value) is not dict:
        raise PayloadRefused("bad_type", "the message must be a JSON object")
    if b"\\u0000" in payload:
        _refuse_nul(value)
    return value


def read_items(payload: bytes, maximum: int) -> list[bytes]:
    """Return the items of a JSON array, each as its own bytes. Raises `PayloadRefused`."""
    items = _decode(_array_decoder, payload)
    if not items:
        raise PayloadRefused("bad_type", "the array is empty")
    if len(items) > maximum:
        raise PayloadRefused("too_large", f"the array has {len(items)} items; {maximum} at most")
    return [bytes(item) for item in items]


def _decode(decoder: Any, payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise PayloadRefused("bad_json", f"a value cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise PayloadRefused("bad_json", "the message is not valid UTF-8") from None
    except RecursionError:
        raise PayloadRefused("too_large", "the JSON is nested too deep") from None
    except msgspec.DecodeError as error:
        raise PayloadRefused("bad_json", f"the message is not JSON: {error}") from None


def number(fields: dict[str, Any], name: str) -> float | None:
    """Pop a number from ``fields``; None when absent or null. A bool or a string is not a number."""
    value = fields.pop(name, None)
    if value is None or type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise PayloadRefused("out_of_range", f"{name} is too large") from None
    raise PayloadRefused("bad_type", f"{name} must be a number, not {json_type(value)}")


def required_number(fields: dict[str, Any], name: str) -> float:
    value = number(fields, name)
    if value is None:
        raise PayloadRefused("missing_field", f"{name} is missing: a number is needed")
    return value


def flag(fields: dict[str, Any], name: str) -> bool | None:
    value = fields.pop(name, None)
    if value is None or type(value) is bool:
        return value
    raise PayloadRefused("bad_type", f"{name} must be true or false, not {json_type(value)}")


def message_id(fields: dict[str, Any]) -> MessageId | None:
    """Pop the client's message id, which the reply echoes unchanged."""
    value: Any = fields.pop("id", None)
    if value is None:
        return None
    if type(whole(value)) not in {str, int} or len(str(value)) > MAXIMUM_ID_LENGTH:
        raise PayloadRefused(
            "bad_type", f"id must be a string or an integer of at most {MAXIMUM_ID_LENGTH} characters"
        )
    return value  # type: ignore[no-any-return]


def whole(value: Any) -> Any:
    """Return an integral float as an int: JSON does not distinguish 123.0 from 123."""
    return int(value) if type(value) is float and value.is_integer() else value


def refuse_other_identity(fields: dict[str, Any], device_id: str) -> None:
    """Raise `PayloadRefused` if the payload names another device than the topic, which is the identity."""
    for name in IDENTITY_KEYS:
        if name in fields and fields.pop(name) != device_id:
            raise PayloadRefused("spoofed", f"{name} names another device than the topic does")


def attributes(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return the keys that the decoder does not know, within bounds on count, depth and size, or None."""
    if not fields:
        return None
    if len(fields) > MAXIMUM_ATTRIBUTES:
        raise PayloadRefused("too_large", f"{len(fields)} unknown keys; {MAXIMUM_ATTRIBUTES} at most")
    if _depth_exceeds(fields, MAXIMUM_DEPTH):
        raise PayloadRefused("too_large", f"unknown keys are nested deeper than {MAXIMUM_DEPTH}")
    if len(msgspec.json.encode(fields)) > MAXIMUM_ATTRIBUTES_BYTES:
        raise PayloadRefused("too_large", f"unknown keys take more than {MAXIMUM_ATTRIBUTES_BYTES} bytes")
    return fields


def json_type(value: object) -> str:
    """Return the JSON name of a value's type, for error messages."""
    names = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def _depth_exceeds(value: Any, limit: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return limit == 0 or any(_depth_exceeds(item, limit - 1) for item in value)


def _refuse_nul(value: Any) -> None:
    """Raise `PayloadRefused` if a string holds a NUL character, which PostgreSQL cannot store in text."""
    # Iterative, since the decoder accepts deeper nesting than Python's recursion limit allows here.
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and "\0" in item:
            raise PayloadRefused("bad_text", "a string holds a NUL character")
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item
