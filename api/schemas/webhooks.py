"""Webhook endpoints as clients send and see them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from api.schemas.fields import Input, Line, Output
from core.access.actors import Actor
from core.models.notification import Webhook
from core.notifications.kinds import CONFIGURABLE, Event
from core.notifications.webhooks.addresses import LONGEST_URL, origin

Url = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=8, max_length=LONGEST_URL, pattern="^https?://"),
]
ChosenEvent = Literal[
    Event.STATUS_CHANGED,
    Event.ARRIVING_SOON,
    Event.LATE,
    Event.DEVICE_SILENT,
    Event.WEBHOOK_DISABLED,
    Event.DAILY_REPORT,
]
Events = Annotated[list[ChosenEvent], Field(min_length=1, max_length=len(CONFIGURABLE))]


class WebhookIn(Input):
    """A webhook. ``url`` is https:// and must not point to a private address (SSRF guard)."""

    url: Url
    events: Events
    description: Line | None = None


class WebhookPatch(Input):
    url: Url = Field(default_factory=str)
    events: Events = Field(default_factory=list)
    description: Line | None = None


class WebhookOut(Output):
    """A webhook. ``failures`` counts those in a row; after 20 it is disabled because of ``failures``.

    Operators see ``url`` without its path, which may hold a token. Until ``previous_secret_until`` calls are
    also signed with the previous secret.
    """

    id: int
    url: str
    events: list[Event]
    description: str | None
    failures: int
    retry_at: datetime | None
    last_success_at: datetime | None
    last_error: Annotated[str | None, Field(examples=["HTTP status 500"])]
    disabled_at: datetime | None
    disabled_because: Literal["failures", "manager"] | None
    previous_secret_until: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: Webhook, actor: Actor, **more: Any) -> Self:
        shown = {name: getattr(row, name) for name in WebhookOut.model_fields}
        return cls(**shown | {"url": row.url if actor.manages else origin(row.url)} | more)


class WebhookMade(WebhookOut):
    """A new webhook, or one with a new secret. ``secret`` is shown only here; it signs the calls."""

    secret: Annotated[str, Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])]
