"""Dead-lettered outbox rows, for an administrator to inspect. The caller commits."""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.access import system_actors
from core.errors import Conflict, NotFound
from core.models.delivery import DeliveryCheckpoint
from core.models.record import Outbox
from core.records import audit, outbox
from core.rules.enums import CheckpointKind


def rows(session: Session) -> Sequence[Outbox]:
    """Return the dead-lettered rows, oldest first."""
    return session.scalars(select(Outbox).where(Outbox.parked_at.is_not(None)).order_by(Outbox.id)).all()


def retry(session: Session, row_ids: Iterable[int]) -> None:
    """Requeue all of the rows or none, as if they were new.

    Raises `NotFound`, and `Conflict` for an outdated status: the relay publishes by id, so the retried fact
    would become the delivery's last one.
    """
    for row in _lock(session, row_ids):
        if _is_outdated(session, row):
            raise Conflict(f"Row {row.id}: a newer status of its delivery has been announced. Drop it.")
        row.parked_at, row.attempts = None, 0
        _note(session, row, "retried")
    outbox.wake_relay(session)


def drop(session: Session, row_ids: Iterable[int]) -> None:
    """Delete all of the rows or none. Raises `NotFound`."""
    found = _lock(session, row_ids)
    for row in found:
        _note(session, row, "dropped")
    session.execute(delete(Outbox).where(Outbox.id.in_([row.id for row in found])))


def _lock(session: Session, row_ids: Iterable[int]) -> Sequence[Outbox]:
    wanted = set(row_ids)
    query = select(Outbox).where(Outbox.id.in_(wanted), Outbox.parked_at.is_not(None))
    found = session.scalars(query.order_by(Outbox.id).with_for_update()).all()
    if missing := wanted - {row.id for row in found}:
        raise NotFound(f"dead-lettered row: {', '.join(map(str, sorted(missing)))}")
    return found


def _is_outdated(session: Session, row: Outbox) -> bool:
    delivery, checkpoint = row.payload.get("delivery"), row.payload.get("checkpoint")
    if (
        row.kind != outbox.OutboxKind.STATUS
        or not isinstance(delivery, int)
        or not isinstance(checkpoint, int)
    ):
        return False
    newer = select(DeliveryCheckpoint.id).where(
        DeliveryCheckpoint.delivery_id == delivery,
        DeliveryCheckpoint.id > checkpoint,
        DeliveryCheckpoint.kind != CheckpointKind.LOCATION,
    )
    return session.scalar(newer.limit(1)) is not None


def _note(session: Session, row: Outbox, verb: str) -> None:
    if row.company_id is not None:
        actor = system_actors.system_actor_of(session, row.company_id)
        audit.note(session, actor, verb, row, {"kind": {"before": row.kind}})
