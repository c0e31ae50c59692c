"""A company's notification settings: recipients per event, and the thresholds for soon, late and silent."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.errors import InvalidValue
from core.models.company import Company
from core.models.notification import NotificationSetting
from core.notifications.kinds import DEFAULTS, OF_A_DELIVERY, Choice, Event
from core.records import audit
from core.rules.changes import set_fields


class NotificationSettings(msgspec.Struct, frozen=True):
    events: Mapping[Event, Choice]
    company: Company


class ChoiceChanges(msgspec.Struct, frozen=True, kw_only=True):
    customer: bool | UnsetType = UNSET
    managers: bool | UnsetType = UNSET


class ThresholdChanges(msgspec.Struct, frozen=True, kw_only=True):
    """All in minutes."""

    arriving_soon_min: int | UnsetType = UNSET
    late_after_min: int | UnsetType = UNSET
    device_silent_after_min: int | UnsetType = UNSET


THRESHOLDS = ThresholdChanges.__struct_fields__


def read(session: Session, actor: Actor) -> NotificationSettings:
    """Return the settings, for managers and operators."""
    scoping.require_company_reader(actor)
    rows = session.scalars(select(NotificationSetting).where(scoping.is_ours(actor, NotificationSetting)))
    own = {Event(row.event): Choice(row.customer, row.managers) for row in rows}
    return NotificationSettings({**DEFAULTS, **own}, session.get_one(Company, actor.company_id))


def edit(
    session: Session, actor: Actor, choices: Mapping[Event, ChoiceChanges], thresholds: ThresholdChanges
) -> NotificationSettings:
    """Change the recipients of some events, and thresholds; the rest is unchanged.

    Raises `InvalidValue` for ``customer`` of an event that concerns no delivery.
    """
    scoping.require_manager(actor)
    company = session.get_one(Company, actor.company_id, with_for_update={"key_share": True})
    before = read(session, actor).events
    for event, chosen in choices.items():
        choice = msgspec.structs.replace(before[event], **set_fields(chosen))
        if choice.customer and event not in OF_A_DELIVERY:
            raise InvalidValue(f"events.{event}.customer", "is of no delivery: it has no customer to notify")
        if choice != before[event]:
            _put(session, actor, event, choice)
            changes = {
                event.value: {
                    "before": msgspec.structs.asdict(before[event]),
                    "after": msgspec.structs.asdict(choice),
                }
            }
            audit.note(session, actor, "notifications_changed", company, changes)
    audit.change(session, actor, company, set_fields(thresholds))
    session.flush()
    return read(session, actor)


def _put(session: Session, actor: Actor, event: Event, choice: Choice) -> None:
    values = msgspec.structs.asdict(choice)
    statement = insert(NotificationSetting).values(company_id=actor.company_id, event=event.value, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["company_id", "event"], set_=values))
