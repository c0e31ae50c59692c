"""The events that notifications are about, their audiences, default recipients and states."""

import enum
from collections.abc import Mapping

import msgspec


class Event(enum.StrEnum):
    STATUS_CHANGED = "status_changed"
    ARRIVING_SOON = "arriving_soon"
    LATE = "late"
    DEVICE_SILENT = "device_silent"
    WEBHOOK_DISABLED = "webhook_disabled"
    DAILY_REPORT = "daily_report"
    TEST = "test"  # for one webhook, requested by a manager


class Audience(enum.StrEnum):
    CUSTOMER = "customer"
    MANAGER = "manager"
    WEBHOOK = "webhook"


class State(enum.StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"


class Choice(msgspec.Struct, frozen=True):
    """The recipients of e-mails about an event; webhooks choose their own events."""

    customer: bool
    managers: bool


DEFAULTS: Mapping[Event, Choice] = {
    Event.STATUS_CHANGED: Choice(customer=True, managers=False),
    Event.ARRIVING_SOON: Choice(customer=True, managers=False),
    Event.LATE: Choice(customer=False, managers=True),
    Event.DEVICE_SILENT: Choice(customer=False, managers=True),
    Event.WEBHOOK_DISABLED: Choice(customer=False, managers=True),
    Event.DAILY_REPORT: Choice(customer=False, managers=False),
}
CONFIGURABLE = tuple(DEFAULTS)  # the events whose recipients a company chooses
OF_A_DELIVERY = frozenset({Event.STATUS_CHANGED, Event.ARRIVING_SOON, Event.LATE})
