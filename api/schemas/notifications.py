"""Notification settings, and notifications with their delivery attempts."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BeforeValidator, Field, Strict

from api.schemas.fields import Input, Output, QueryId, whole
from api.schemas.pages import PageQuery
from core.access.actors import Actor
from core.models.notification import Notification, NotificationAttempt
from core.notifications.kinds import Audience, Event, State
from core.notifications.log import NotificationSelection
from core.notifications.settings import THRESHOLDS, ChoiceChanges, NotificationSettings, ThresholdChanges

DAY_MIN = 24 * 60
Minutes = Annotated[int, Strict(), Field(ge=0, le=DAY_MIN), BeforeValidator(whole)]


class ChoiceIn(Input):
    """The recipients of an e-mail: the delivery's customer, every manager. An omitted one stays as before.

    Webhooks choose their own events.
    """

    customer: Annotated[bool, Strict()] = Field(default_factory=bool)
    managers: Annotated[bool, Strict()] = Field(default_factory=bool)


class ChoicesIn(Input):
    """The choice per event; omitted events stay as they are."""

    status_changed: ChoiceIn | None = None
    arriving_soon: ChoiceIn | None = None
    late: ChoiceIn | None = None
    device_silent: ChoiceIn | None = None
    webhook_disabled: ChoiceIn | None = None
    daily_report: ChoiceIn | None = None


class NotificationSettingsPatch(Input):
    """Settings; omitted ones stay as they are. All times are in minutes.

    An ETA this near is "soon"; a delivery this long after its window is "late"; a device this long without a
    message is "silent".
    """

    events: ChoicesIn = Field(default_factory=ChoicesIn)
    arriving_soon_min: Minutes = Field(default_factory=int)
    late_after_min: Minutes = Field(default_factory=int)
    device_silent_after_min: Annotated[int, Strict(), Field(ge=1, le=DAY_MIN), BeforeValidator(whole)] = (
        Field(default_factory=int)
    )

    def choices(self) -> dict[Event, ChoiceChanges]:
        chosen = {Event(name): getattr(self.events, name) for name in ChoicesIn.model_fields}
        return {event: one.to(ChoiceChanges) for event, one in chosen.items() if one is not None}

    def thresholds(self) -> ThresholdChanges:
        sent = self.sent()
        return ThresholdChanges(**{name: sent[name] for name in THRESHOLDS if name in sent})


class ChoiceOut(Output):
    customer: bool
    managers: bool


class ChoicesOut(Output):
    status_changed: ChoiceOut
    arriving_soon: ChoiceOut
    late: ChoiceOut
    device_silent: ChoiceOut
    webhook_disabled: ChoiceOut
    daily_report: ChoiceOut


class NotificationSettingsOut(Output):
    events: ChoicesOut
    arriving_soon_min: int
    late_after_min: int
    device_silent_after_min: int

    @classmethod
    def of(cls, settings: NotificationSettings) -> Self:
        events = {event.value: ChoiceOut.model_validate(choice) for event, choice in settings.events.items()}
        thresholds = {name: getattr(settings.company, name) for name in THRESHOLDS}
        return cls(events=ChoicesOut(**events), **thresholds)


class NotificationQuery(PageQuery):
    state: State | None = None
    event: Event | None = None
    audience: Audience | None = None
    delivery_id: QueryId | None = None
    webhook_id: QueryId | None = None

    def selection(self) -> NotificationSelection:
        return NotificationSelection(
            state=self.state,
            event=self.event,
            audience=self.audience,
            delivery_id=self.delivery_id,
            webhook_id=self.webhook_id,
        )


class NotificationOut(Output):
    """One message to one recipient. ``event_id`` is the same for all recipients of an event.

    ``error`` says why it is not sent (yet). ``recipient`` is an e-mail address, shown to managers only.
    """

    id: int
    event: Event
    event_id: UUID
    audience: Audience
    addressee: Annotated[str, Field(examples=["customer:42"])]
    recipient: Annotated[str | None, Field(examples=["name@example.com"])]
    delivery_id: int | None
    checkpoint_id: int | None
    webhook_id: int | None
    state: State
    attempts: int
    next_attempt_at: Annotated[datetime | None, Field(description="while it is queued")]
    error: Annotated[str | None, Field(examples=["HTTP status 500"])]
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime

    @classmethod
    def of(cls, row: Notification, actor: Actor, **more: Any) -> Self:
        shown = {name: getattr(row, name) for name in NotificationOut.model_fields}
        if row.state != State.QUEUED:
            shown["next_attempt_at"] = None
        return cls(**shown | {"recipient": row.recipient if actor.manages else None} | more)


class AttemptOut(Output):
    """An attempt to send. Without ``finished_at`` it is under way, or the sending process ended too early.

    ``code`` is the HTTP status or the SMTP server's reply code; without ``error`` the message was accepted.
    """

    number: int
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None
    code: Annotated[int | None, Field(examples=[500])]
    error: Annotated[str | None, Field(examples=["HTTP status 500"])]


class NotificationDetail(NotificationOut):
    """A notification with its attempts. ``payload``, the event's facts, is shown to managers only."""

    payload: Annotated[dict[str, Any] | None, Field(examples=[{"status": "delivered"}])]
    attempts_made: Annotated[list[AttemptOut], Field(description="the last 200, in order")]

    @classmethod
    def with_attempts(cls, row: Notification, made: list[NotificationAttempt], actor: Actor) -> Self:
        return cls.of(
            row,
            actor,
            payload=row.payload if actor.manages else None,
            attempts_made=[AttemptOut.model_validate(one) for one in made],
        )
