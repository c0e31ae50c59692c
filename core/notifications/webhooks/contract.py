"""What a webhook receives: the body and our headers of a call, as the sender makes and OpenAPI shows them."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec

EVENT_ID, EVENT_TYPE = "Milepost-Event-Id", "Milepost-Event-Type"
ATTEMPT, SIGNATURE = "Milepost-Attempt", "Milepost-Signature"
HEADERS: Mapping[str, str] = {
    EVENT_ID: "The body's `id`.",
    EVENT_TYPE: "The body's `type`.",
    ATTEMPT: "1 for the first attempt.",
    SIGNATURE: (
        '`t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">` with the webhook\'s secret; for a day after'
        " a rotation a second `v1` with the previous secret."
    ),
}


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` are the fields of an event in `core.notifications.events`, as they were stored."""

    id: Annotated[
        UUID,
        msgspec.Meta(
            description="The same in every attempt and for every webhook of the company: ignore an id that"
            " you have received before.",
            examples=["6f1c2f3e-8f0a-4f7e-9d0b-2c8f5a1e7b42"],
        ),
    ]
    type: str
    sequence: Annotated[
        int, msgspec.Meta(description="Of one delivery, a later event has a larger sequence.")
    ]
    occurred_at: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
    company: Annotated[str, msgspec.Meta(description="The company's slug.", examples=["acme"])]
    data: dict[str, Any]
