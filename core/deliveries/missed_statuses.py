"""Read the status facts that a watching client or a process has missed. Blocking."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.database.ids import is_any_of
from core.deliveries import checkpoints as delivery_checkpoints
from core.models.company import Company
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.rules.enums import ANNOUNCED
from core.rules.facts import StatusFact

MAXIMUM_MISSED = 500
MAXIMUM_AGE = timedelta(hours=24)


def missed_by(session: Session, last: Mapping[int, int]) -> list[StatusFact]:
    """Return, per delivery, the status facts after the last one published, in order."""
    newest = session.execute(
        select(DeliveryCheckpoint.delivery_id, func.max(DeliveryCheckpoint.id))
        .where(
            is_any_of(DeliveryCheckpoint.delivery_id, last),
            DeliveryCheckpoint.kind.in_(ANNOUNCED),
        )
        .group_by(DeliveryCheckpoint.delivery_id)
    )
    behind = [delivery for delivery, checkpoint in newest if checkpoint > last[delivery]]
    facts: list[StatusFact] = []
    for delivery in behind:
        facts += _announced(session, delivery, last[delivery])
    return facts


def missed_since(session: Session, delivery_id: int, last_checkpoint: int) -> list[StatusFact] | None:
    """Return the missed facts.

    None when the client was away too long, or its checkpoint belongs to another delivery.
    """
    if last_checkpoint > 0 and not _is_announced(session, delivery_id, last_checkpoint):
        return None
    facts = _announced(session, delivery_id, last_checkpoint)
    if len(facts) > MAXIMUM_MISSED or (facts and _is_old(session, last_checkpoint)):
        return None
    return facts


def _is_announced(session: Session, delivery_id: int, checkpoint_id: int) -> bool:
    checkpoint = session.get(DeliveryCheckpoint, checkpoint_id)
    return checkpoint is not None and checkpoint.delivery_id == delivery_id


def _is_old(session: Session, checkpoint_id: int) -> bool:
    checkpoint = session.get(DeliveryCheckpoint, checkpoint_id)
    return checkpoint is not None and checkpoint.recorded_at < datetime.now(UTC) - MAXIMUM_AGE


def _announced(session: Session, delivery_id: int, after_id: int) -> list[StatusFact]:
    checkpoints = delivery_checkpoints.announced_since(session, delivery_id, after_id, MAXIMUM_MISSED + 1)
    slug, customer_id = session.execute(
        select(Company.slug, Delivery.customer_id)
        .join(Delivery, Delivery.company_id == Company.id)
        .where(Delivery.id == delivery_id)
    ).one_or_none() or ("", None)
    return [delivery_checkpoints.fact_of(slug, checkpoint, customer_id) for checkpoint in checkpoints]
