"""A company's webhook endpoints. Their secrets are derived, like those of devices, so that none is stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.errors import Conflict, NotFound
from core.identities import mqtt_secret
from core.models.notification import Notification, Webhook
from core.notifications.kinds import Event
from core.notifications.queue import queue_test
from core.notifications.webhooks import backlog
from core.notifications.webhooks.addresses import require_url
from core.records import audit
from core.rules.changes import set_fields
from core.settings.outgoing import Networks

MAXIMUM = 20
OVERLAP = timedelta(days=1)
PREFIX = "whsec_"
BY_MANAGER, BY_FAILURES = "manager", "failures"


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    events: Sequence[Event]
    description: str | None = None


class WebhookChanges(msgspec.Struct, frozen=True, kw_only=True):
    url: str | UnsetType = UNSET
    events: Sequence[Event] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class HasSecrets(Protocol):
    """A webhook's row, or the part of it that derives its secrets."""

    @property
    def id(self) -> int: ...
    @property
    def secret_version(self) -> int: ...
    @property
    def previous_secret_until(self) -> datetime | None: ...


def page(session: Session, actor: Actor, *, after: int | None, limit: int) -> Sequence[Webhook]:
    scoping.require_company_reader(actor)
    query = select(Webhook).where(scoping.is_ours(actor, Webhook), Webhook.deleted_at.is_(None))
    if after is not None:
        query = query.where(Webhook.id > after)
    return session.scalars(query.order_by(Webhook.id).limit(limit)).all()


def find(session: Session, actor: Actor, webhook_id: int) -> Webhook:
    return _existing(scoping.find(session, actor, Webhook, webhook_id))


def add(session: Session, actor: Actor, new: NewWebhook, key: str, allowed: Networks) -> tuple[Webhook, str]:
    """Create an endpoint.

    Return it with its secret. Raises `InvalidValue`, or `Conflict` if there are too many.
    """
    scoping.require_manager(actor)
    require_url(new.url, allowed)
    present = select(func.count()).where(scoping.is_ours(actor, Webhook), Webhook.deleted_at.is_(None))
    if session.scalars(present).one() >= MAXIMUM:
        raise Conflict(f"A company has {MAXIMUM} webhooks at most.")
    row = Webhook(
        company_id=actor.company_id,
        url=new.url,
        events=_sorted(new.events),
        description=new.description,
        secret_version=1,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    audit.added(session, actor, row)
    return row, secret(key, row.id, row.secret_version)


def edit(
    session: Session, actor: Actor, webhook_id: int, edited: WebhookChanges, allowed: Networks
) -> Webhook:
    """Change an endpoint. A new URL is tried at once."""
    row = _locked(session, actor, webhook_id)
    changes = set_fields(edited)
    if edited.url is not UNSET:
        require_url(edited.url, allowed)
        if edited.url != row.url:
            row.failures, row.retry_at = 0, None
            backlog.make_due(session, row.id)
    if edited.events is not UNSET:
        changes["events"] = _sorted(edited.events)
    audit.change(session, actor, row, changes)
    return row


def rotate(session: Session, actor: Actor, webhook_id: int, key: str, now: datetime) -> tuple[Webhook, str]:
    """Make a new secret; for `OVERLAP`, calls are signed with the previous secret too."""
    row = _locked(session, actor, webhook_id)
    row.secret_version += 1
    row.previous_secret_until = now + OVERLAP
    audit.note(session, actor, "secret_rotated", row)
    return row, secret(key, row.id, row.secret_version)


def disable(session: Session, actor: Actor, webhook_id: int, now: datetime) -> Webhook:
    """Disable the endpoint. Notifications queued meanwhile wait for it until they expire, usually a day."""
    row = _locked(session, actor, webhook_id)
    if row.disabled_at is None:
        row.disabled_at, row.disabled_because = now, BY_MANAGER
        audit.note(session, actor, "disabled", row)
    return row


def enable(session: Session, actor: Actor, webhook_id: int) -> Webhook:
    """Enable the endpoint, also after too many failures; its backlog is sent at once."""
    row = _locked(session, actor, webhook_id)
    if row.disabled_at is not None:
        audit.note(session, actor, "enabled", row)
    row.disabled_at = row.disabled_because = row.retry_at = None
    row.failures = 0
    backlog.make_due(session, row.id)
    return row


def test(session: Session, actor: Actor, webhook_id: int, now: datetime) -> Notification:
    """Queue a ``test`` event for the endpoint. Raises `Conflict` while it is disabled."""
    row = _locked(session, actor, webhook_id)
    if row.disabled_at is not None:
        raise Conflict("The webhook is disabled: enable it first.")
    row.retry_at = None
    return session.get_one(Notification, queue_test(session, row.company_id, row.id, now))


def remove(session: Session, actor: Actor, webhook_id: int, now: datetime) -> None:
    """Delete the URL and fail queued notifications; the row stays, because sent ones refer to it."""
    row = _locked(session, actor, webhook_id)
    row.deleted_at, row.url = now, ""
    backlog.fail_queued(session, row.id, "the webhook was removed", now)
    audit.note(session, actor, "removed", row)


def secret(key: str, webhook_id: int, version: int) -> str:
    """Derive a secret. No MQTT user can have such a name, so no MQTT secret equals a webhook's secret."""
    return PREFIX + mqtt_secret(key, f"webhook\n{webhook_id}", version)


def secrets(row: HasSecrets, key: str, now: datetime) -> list[str]:
    """Return the secrets that sign calls at ``now``, the present one first."""
    versions = [row.secret_version]
    if row.previous_secret_until is not None and now < row.previous_secret_until:
        versions.append(row.secret_version - 1)
    return [secret(key, row.id, version) for version in versions]


def _locked(session: Session, actor: Actor, webhook_id: int) -> Webhook:
    return _existing(scoping.lock(session, actor, Webhook, webhook_id))


def _existing(row: Webhook) -> Webhook:
    if row.deleted_at is not None:
        raise NotFound("webhook")
    return row


def _sorted(events: Sequence[Event]) -> list[str]:
    return sorted({event.value for event in events})
