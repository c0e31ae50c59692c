"""Companies' own e-mail templates."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from api.schemas.fields import Input, Line, Output, no_nul, stored
from core.notifications.content.templates import StoredTemplate
from core.notifications.content.texts import Texts
from core.notifications.kinds import Audience, Event

Body = Annotated[
    str,
    StringConstraints(min_length=1, max_length=10_000),
    AfterValidator(no_nul),
    AfterValidator(stored(1, 10_000)),
    Field(json_schema_extra={"pattern": r"^[^\x00]*$"}),
]
Html = Annotated[
    str,
    StringConstraints(min_length=1, max_length=50_000),
    AfterValidator(no_nul),
    AfterValidator(stored(1, 50_000)),
    Field(json_schema_extra={"pattern": r"^[^\x00]*$"}),
]


class TextsIn(Input):
    """Text with `{{ facts }}` and `{% if %}`; in ``html`` facts are escaped.

    Facts: `recipient_name`, `company_name`, `occurred_at`, `delivery.reference` and others; the response to
    GET names those of each event. Filters: `date`, `time`, `datetime` (in the company's time zone), `words`
    (`in_transit` becomes "in transit"), `phrase` (what follows "your delivery": `in_transit` becomes "is on
    its way"), `duration` (`65` minutes become "1 hour 5 minutes"), `upper`, `lower`, `capitalize`.
    """

    subject: Line
    text: Body
    html: Html | None = None

    def texts(self) -> Texts:
        return Texts(self.subject, self.text, self.html)


class PreviewIn(Input):
    """A preview; without ``template`` the stored template is rendered."""

    template: TextsIn | None = None


class TextsOut(Output):
    subject: str
    text: str
    html: str | None


class TemplateOut(TextsOut):
    """A template. ``updated_at`` is null while it is Milepost's own text; ``facts`` are what it may show."""

    event: Event
    audience: Literal[Audience.CUSTOMER, Audience.MANAGER]
    updated_at: datetime | None
    facts: Annotated[list[str], Field(examples=[["delivery.reference", "status"]])]

    @classmethod
    def of(cls, stored: StoredTemplate) -> Self:
        return cls(
            subject=stored.texts.subject,
            text=stored.texts.text,
            html=stored.texts.html,
            event=stored.event,
            audience=stored.audience,
            updated_at=stored.updated_at,
            facts=stored.facts,
        )


class TemplatesOut(Output):
    items: list[TemplateOut]
