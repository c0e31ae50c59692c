"""A company's own e-mail templates: stored, checked, previewed and rendered. The caller commits."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.errors import InvalidValue, NotFound
from core.models.company import Company
from core.models.notification import NotificationTemplate
from core.notifications.content import template_language
from core.notifications.content.texts import DEFAULTS, RECIPIENTS, SAMPLES, Texts
from core.notifications.content.times import with_window
from core.notifications.kinds import Audience, Event
from core.records import audit

LONGEST_SUBJECT = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONE = re.compile(r"[\ud800-\udfff]")


class StoredTemplate(msgspec.Struct, frozen=True):
    """``updated_at`` is None while the company uses the default template."""

    event: Event
    audience: Audience
    texts: Texts
    updated_at: datetime | None

    @property
    def facts(self) -> list[str]:
        """Return the paths of the facts that the template may use, such as ``delivery.reference``."""
        return sorted(_paths(SAMPLES[self.event]))


def every(session: Session, actor: Actor) -> list[StoredTemplate]:
    """Return the template per event and audience, own or default, for managers and operators."""
    scoping.require_company_reader(actor)
    own = {(row.event, row.audience): row for row in session.scalars(_own(actor))}
    return [_stored(event, audience, own.get((event, audience))) for event, audience in DEFAULTS]


def find(session: Session, actor: Actor, event: Event, audience: Audience) -> StoredTemplate:
    """Return one template. Raises `NotFound` for an audience that never gets this event by e-mail."""
    if (event, audience) not in DEFAULTS:
        raise NotFound("template")
    scoping.require_company_reader(actor)
    return _stored(event, audience, session.scalar(_one(actor, event, audience)))


def put(
    session: Session, actor: Actor, event: Event, audience: Audience, texts: Texts, now: datetime
) -> StoredTemplate:
    """Store a template. Raises `InvalidValue` that names the field and the line."""
    find(session, actor, event, audience)
    scoping.require_manager(actor)
    check(event, texts)
    values = msgspec.structs.asdict(texts) | {"updated_at": now}
    statement = insert(NotificationTemplate).values(
        company_id=actor.company_id, event=event.value, audience=audience.value, **values
    )
    session.execute(
        statement.on_conflict_do_update(index_elements=["company_id", "event", "audience"], set_=values)
    )
    _note(session, actor, "template_changed", event, audience)
    return StoredTemplate(event, audience, texts, now)


def reset(session: Session, actor: Actor, event: Event, audience: Audience) -> None:
    """Return to the default template; nothing happens if it is already in use."""
    if find(session, actor, event, audience).updated_at is None:
        return scoping.require_manager(actor)
    scoping.require_manager(actor)
    session.execute(
        delete(NotificationTemplate).where(
            scoping.is_ours(actor, NotificationTemplate),
            NotificationTemplate.event == event.value,
            NotificationTemplate.audience == audience.value,
        )
    )
    return _note(session, actor, "template_reset", event, audience)


def preview(session: Session, actor: Actor, event: Event, audience: Audience, texts: Texts | None) -> Texts:
    """Return ``texts``, or the stored template, rendered with sample facts."""
    stored = find(session, actor, event, audience)
    scoping.require_manager(actor)
    if texts is not None:
        check(event, texts)
    company = session.get_one(Company, actor.company_id)
    facts = {**SAMPLES[event], **RECIPIENTS[audience], "company_name": company.name}
    return write(texts or stored.texts, facts, company.time_zone)


def own_texts(session: Session, company_id: int, event: Event, audience: Audience) -> Texts:
    """Return the texts that the sender renders."""
    row = session.get(NotificationTemplate, (company_id, event.value, audience.value))
    return _stored(event, audience, row).texts


def check(event: Event, texts: Texts) -> None:
    """Check a template's texts. Raises `InvalidValue` that names the field and the line."""
    for field, source in msgspec.structs.asdict(texts).items():
        if source is None:
            continue
        try:
            template_language.check(source, SAMPLES[event], is_html=field == "html")
        except template_language.TemplateProblem as problem:
            raise InvalidValue(field, problem.detail) from None


def write(texts: Texts, facts: Mapping[str, Any], time_zone: str) -> Texts:
    """Render the e-mail. Its subject is always one line, so that no fact can inject a header."""
    known = with_window(facts, time_zone)
    subject = _CONTROL.sub(" ", template_language.render(texts.subject, known, time_zone)).strip()
    html = texts.html
    return Texts(
        subject=_sendable(subject[:LONGEST_SUBJECT]) or "Notification",
        text=_sendable(template_language.render(texts.text, known, time_zone)),
        html=None
        if html is None
        else _sendable(template_language.render(html, known, time_zone, is_html=True)),
    )


def _paths(facts: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _sendable(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded."""
    return _LONE.sub("\ufffd", text)


def _own(actor: Actor) -> Any:
    return select(NotificationTemplate).where(scoping.is_ours(actor, NotificationTemplate))


def _one(actor: Actor, event: Event, audience: Audience) -> Any:
    return _own(actor).where(
        NotificationTemplate.event == event.value, NotificationTemplate.audience == audience.value
    )


def _stored(event: Event, audience: Audience, row: NotificationTemplate | None) -> StoredTemplate:
    if row is None:
        return StoredTemplate(event, audience, DEFAULTS[event, audience], None)
    return StoredTemplate(event, audience, Texts(row.subject, row.text, row.html), row.updated_at)


def _note(session: Session, actor: Actor, verb: str, event: Event, audience: Audience) -> None:
    company = session.get_one(Company, actor.company_id)
    changes = {"event": {"after": event.value}, "audience": {"after": audience.value}}
    audit.note(session, actor, verb, company, changes)
