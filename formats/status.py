"""A driver's status request from a phone, ``up/{shard}/{device}/status``: changes a delivery's status.

``{"delivery": id, "status": word, "reason"?, "occurred_at"? (as fix_time), "id"?}``; unknown keys ignored.
"""

from datetime import datetime
from typing import Any

import msgspec

from core.deliveries.status_changes import StatusRequest
from core.rules.enums import Status
from core.rules.fix import MessageId, Rejection
from core.rules.text.spelling import composed
from formats import json_input
from formats.json_input import PayloadRefused
from formats.times import instant

MAXIMUM_REASON = 500


class StatusMessage(msgspec.Struct, frozen=True):
    delivery_id: int
    request: StatusRequest
    message_id: MessageId | None
    company: str | None = None


def decode(payload: bytes, device_id: str) -> StatusMessage | Rejection:
    """Return the request, or a rejection. Its ``company`` is the one that the payload claims, if any."""
    message_id = None
    try:
        fields = json_input.read_object(payload)
        message_id = json_input.message_id(fields)
        json_input.refuse_other_identity(fields, device_id)
        request = StatusRequest(
            status=_status(fields.get("status")),
            reason=_reason(fields.get("reason")),
            occurred_at=_occurred_at(fields.get("occurred_at")),
        )
        delivery = _delivery(fields.get("delivery"))
        return StatusMessage(delivery, request, message_id, _company(fields.get("company")))
    except PayloadRefused as refused:
        return refused.rejection(message_id=message_id)


def _occurred_at(value: Any) -> datetime | None:
    return None if value is None else instant(value, "occurred_at")


def _delivery(value: Any) -> int:
    number = json_input.whole(value)
    if type(number) is not int:
        raise PayloadRefused("bad_type", "delivery must be a delivery's id, an integer")
    return number


def _company(value: Any) -> str | None:
    if value is not None and type(value) is not str:
        raise PayloadRefused("bad_type", f"company must be a string, not {json_input.json_type(value)}")
    return value


def _status(value: Any) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise PayloadRefused("bad_status", f"status must be one of {', '.join(Status)}") from None


def _reason(value: Any) -> str | None:
    if value is not None and type(value) is not str:
        raise PayloadRefused("bad_type", f"reason must be a string, not {json_input.json_type(value)}")
    if value is not None and len(value) > MAXIMUM_REASON:
        raise PayloadRefused("too_large", f"reason has more than {MAXIMUM_REASON} characters")
    return None if value is None else composed(value)
