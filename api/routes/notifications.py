"""Sent notifications, and the settings of who gets which, over REST."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AuthorizedCall, now
from api.http import cursors
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.fields import PathId
from api.schemas.notifications import (
    NotificationDetail,
    NotificationOut,
    NotificationQuery,
    NotificationSettingsOut,
    NotificationSettingsPatch,
)
from api.schemas.pages import Page
from core.notifications import log, settings

router = APIRouter(prefix="/notifications", tags=["notifications"], route_class=ApiRoute)


@router.get("/settings/", summary="Read the notification settings")
def read_notification_settings(authorized: AuthorizedCall) -> NotificationSettingsOut:
    """Read the settings. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return NotificationSettingsOut.of(settings.read(session, actor))


@router.patch("/settings/", summary="Change the notification settings")
def edit_notification_settings(
    authorized: AuthorizedCall, body: NotificationSettingsPatch
) -> NotificationSettingsOut:
    """Change the settings, for events from now on. Requires the manager role."""
    with authorized() as (session, actor):
        chosen = settings.edit(session, actor, body.choices(), body.thresholds())
        return NotificationSettingsOut.of(chosen)


@router.get("/", summary="List notifications")
def list_notifications(
    authorized: AuthorizedCall, query: Annotated[NotificationQuery, Query()]
) -> Page[NotificationOut]:
    """List notifications, newest first. Requires the manager or operator role.

    They are kept for 90 days.
    """
    with authorized() as (session, actor):
        rows = log.page(
            session,
            actor,
            query.selection(),
            before_id=cursors.number_key(query.cursor),
            limit=query.limit + 1,
        )
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[NotificationOut.of(row, actor) for row in shown], next=following)


@router.get("/{notification_id}/", summary="Read a notification and its attempts")
def read_notification(authorized: AuthorizedCall, notification_id: PathId) -> NotificationDetail:
    """Read a notification with its attempts. Requires the manager or operator role."""
    with authorized() as (session, actor):
        row = log.find(session, actor, notification_id)
        made = list(log.attempts(session, row))
        return NotificationDetail.with_attempts(row, made, actor)


@router.post("/{notification_id}/resend/", summary="Send a notification again", responses=CONFLICT)
def resend_notification(authorized: AuthorizedCall, notification_id: PathId) -> NotificationOut:
    """Send a notification again, with the same event id and Message-ID. Requires the manager role.

    It is sent at once, and then retried for as long as such a message lives. An e-mail goes to the
    recipient's present address. 409 when the webhook was removed, the recipient's data were erased, or the
    recipient was disabled or no longer has an address.
    """
    with authorized() as (session, actor):
        return NotificationOut.of(log.resend(session, actor, notification_id, now()), actor)
