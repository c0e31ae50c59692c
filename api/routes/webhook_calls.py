"""The calls that Milepost makes to webhooks, for the OpenAPI document: receivers answer them, not the API."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header

from api.schemas.webhook_calls import body_of
from core.notifications.events import EVENTS, NotificationEvent
from core.notifications.webhooks.contract import ATTEMPT, EVENT_ID, EVENT_TYPE, HEADERS, SIGNATURE

_SIGNATURE_EXAMPLE = f"t=1772366400,v1={'5257a869' * 8}"
_ID_EXAMPLE = "6f1c2f3e-8f0a-4f7e-9d0b-2c8f5a1e7b42"


router = APIRouter(tags=["notifications"])


def _declare(event: type[NotificationEvent]) -> None:
    body_model, kind = body_of(event), event.kind.value

    def receive(
        body: body_model,  # type: ignore[valid-type]  # a model that is made at run time
        event_id: Annotated[
            UUID, Header(alias=EVENT_ID, description=HEADERS[EVENT_ID], examples=[_ID_EXAMPLE])
        ],
        event_type: Annotated[
            str, Header(alias=EVENT_TYPE, description=HEADERS[EVENT_TYPE], examples=[kind])
        ],
        attempt: Annotated[int, Header(alias=ATTEMPT, description=HEADERS[ATTEMPT], examples=[1], ge=1)],
        signature: Annotated[
            str, Header(alias=SIGNATURE, description=HEADERS[SIGNATURE], examples=[_SIGNATURE_EXAMPLE])
        ],
    ) -> None: ...

    router.post(
        kind,
        summary=f"Receive {kind}",
        description=f"{event.__doc__} Verify the signature before you trust the body.",
        operation_id=f"receive_{kind}",
        status_code=204,
        response_description="Accepted, as by any 2xx within 10 seconds; other answers are tried again",
    )(receive)


for _event in EVENTS:
    _declare(_event)
