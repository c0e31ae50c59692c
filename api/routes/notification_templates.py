"""E-mail templates of companies over REST."""

from fastapi import APIRouter

from api.dependencies import AuthorizedCall, now
from api.http.route import ApiRoute
from api.schemas.notification_templates import PreviewIn, TemplateOut, TemplatesOut, TextsIn, TextsOut
from core.notifications.content import templates
from core.notifications.kinds import Audience, Event

router = APIRouter(prefix="/notifications/templates", tags=["notifications"], route_class=ApiRoute)


@router.get("/", summary="List e-mail templates")
def list_templates(authorized: AuthorizedCall) -> TemplatesOut:
    """List one template per event and audience: the company's own, or Milepost's.

    Requires the manager or operator role.
    """
    with authorized() as (session, actor):
        return TemplatesOut(items=[TemplateOut.of(one) for one in templates.every(session, actor)])


@router.get("/{event}/{audience}/", summary="Read an e-mail template")
def read_template(authorized: AuthorizedCall, event: Event, audience: Audience) -> TemplateOut:
    """Read a template. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return TemplateOut.of(templates.find(session, actor, event, audience))


@router.put("/{event}/{audience}/", summary="Write an e-mail template")
def put_template(authorized: AuthorizedCall, event: Event, audience: Audience, body: TextsIn) -> TemplateOut:
    """Write a template. Requires the manager role. 422 names the field and the line of an error."""
    with authorized() as (session, actor):
        stored = templates.put(session, actor, event, audience, body.texts(), now())
        return TemplateOut.of(stored)


@router.delete("/{event}/{audience}/", summary="Restore Milepost's own template", status_code=204)
def reset_template(authorized: AuthorizedCall, event: Event, audience: Audience) -> None:
    """Delete the company's own template. Requires the manager role."""
    with authorized() as (session, actor):
        templates.reset(session, actor, event, audience)


@router.post("/{event}/{audience}/preview/", summary="Show an e-mail with sample facts")
def preview_template(
    authorized: AuthorizedCall, event: Event, audience: Audience, body: PreviewIn
) -> TextsOut:
    """Render the template with sample facts. Requires the manager role. Nothing is stored or sent."""
    texts = body.template.texts() if body.template is not None else None
    with authorized() as (session, actor):
        shown = templates.preview(session, actor, event, audience, texts)
        return TextsOut.model_validate(shown)
