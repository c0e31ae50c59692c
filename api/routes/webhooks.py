"""Webhook endpoints over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AuthorizedCall, SettingsOf, now
from api.http import cursors
from api.http.idempotency import forbid_keeping
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.fields import PathId
from api.schemas.notifications import NotificationOut
from api.schemas.pages import Page, PageQuery
from api.schemas.webhooks import WebhookIn, WebhookMade, WebhookOut, WebhookPatch
from core.notifications.webhooks import endpoints
from core.notifications.webhooks.endpoints import NewWebhook, WebhookChanges

router = APIRouter(prefix="/webhooks", tags=["notifications"], route_class=ApiRoute)


@router.get("/", summary="List webhooks")
def list_webhooks(authorized: AuthorizedCall, query: Annotated[PageQuery, Query()]) -> Page[WebhookOut]:
    """List webhooks. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = endpoints.page(session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1)
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[WebhookOut.of(row, actor) for row in shown], next=following)


@router.post("/", summary="Add a webhook", status_code=201, responses=CONFLICT)
def add_webhook(
    authorized: AuthorizedCall, settings: SettingsOf, body: WebhookIn, response: Response
) -> WebhookMade:
    """Add a webhook. Requires the manager role. `secret` is shown only here. 409 when there are 20 already.

    Each event is a POST of `{"id", "type", "sequence", "occurred_at", "company", "data"}`, signed in
    `Milepost-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">`. Any 2xx response within 10
    seconds accepts it. Delivery is at least once, so ignore an `id` that you have received before.
    """
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        row, secret = endpoints.add(session, actor, body.to(NewWebhook), key, settings.webhook_networks)
        response.headers["Location"] = f"/webhooks/{row.id}/"
        return WebhookMade.of(row, actor, secret=secret)


@router.get("/{webhook_id}/", summary="Read a webhook")
def read_webhook(authorized: AuthorizedCall, webhook_id: PathId) -> WebhookOut:
    """Read a webhook. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return WebhookOut.of(endpoints.find(session, actor, webhook_id), actor)


@router.patch("/{webhook_id}/", summary="Change a webhook")
def edit_webhook(
    authorized: AuthorizedCall, settings: SettingsOf, webhook_id: PathId, body: WebhookPatch
) -> WebhookOut:
    """Change a webhook. Requires the manager role. Its secret stays."""
    changes = body.to(WebhookChanges)
    with authorized() as (session, actor):
        row = endpoints.edit(session, actor, webhook_id, changes, settings.webhook_networks)
        return WebhookOut.of(row, actor)


@router.delete("/{webhook_id}/", summary="Remove a webhook", status_code=204)
def remove_webhook(authorized: AuthorizedCall, webhook_id: PathId) -> None:
    """Remove a webhook. Requires the manager role.

    Its notifications stay in the list; those still waiting count as failed.
    """
    with authorized() as (session, actor):
        endpoints.remove(session, actor, webhook_id, now())


@router.post("/{webhook_id}/rotate/", summary="Rotate a webhook's secret")
def rotate_webhook_secret(
    authorized: AuthorizedCall, settings: SettingsOf, webhook_id: PathId, response: Response
) -> WebhookMade:
    """Give the webhook a new secret. Requires the manager role.

    For a day each call carries both signatures, the new one first.
    """
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        row, secret = endpoints.rotate(session, actor, webhook_id, key, now())
        return WebhookMade.of(row, actor, secret=secret)


@router.post("/{webhook_id}/disable/", summary="Disable a webhook")
def disable_webhook(authorized: AuthorizedCall, webhook_id: PathId) -> WebhookOut:
    """Disable the webhook; events wait for it for up to a day. Requires the manager role."""
    with authorized() as (session, actor):
        return WebhookOut.of(endpoints.disable(session, actor, webhook_id, now()), actor)


@router.post("/{webhook_id}/enable/", summary="Enable a webhook")
def enable_webhook(authorized: AuthorizedCall, webhook_id: PathId) -> WebhookOut:
    """Enable the webhook, also after too many failures. Requires the manager role.

    Waiting events are sent at once.
    """
    with authorized() as (session, actor):
        return WebhookOut.of(endpoints.enable(session, actor, webhook_id), actor)


@router.post("/{webhook_id}/test/", summary="Send a webhook a test event", responses=CONFLICT)
def test_webhook(authorized: AuthorizedCall, webhook_id: PathId) -> NotificationOut:
    """Send a test event; read the notification to see its outcome. Requires the manager role.

    409 while the webhook is disabled.
    """
    with authorized() as (session, actor):
        return NotificationOut.of(endpoints.test(session, actor, webhook_id, now()), actor)
