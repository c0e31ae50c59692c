"""The events that notifications are about, and their audiences."""

import enum


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
