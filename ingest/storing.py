"""Store decoded messages, one transaction per batch.

Error policy (`core.database.errors` classifies): for a message's fault the batch is halved until the poison
message is alone and is quarantined. A deadlock is retried at once. Everything else is `DatabaseAway`: nothing
was stored, and nothing may be acknowledged.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.backoff import Backoff
from core.database import partitions
from core.database.errors import DatabaseFault, class_and_sqlstate, classify, sqlstate
from core.positions import intake
from core.positions.devices import KnownDevice, known_devices
from core.positions.intake import DeviceAnswer, Report, Result, Taken
from core.records import quarantine
from core.records.quarantine import Quarantined
from core.rules.facts import PositionFact
from core.rules.fix import Rejection

TRIES = 4
POISON = "refused_by_database"

log = logging.getLogger(__name__)

T = TypeVar("T")
Sessions = sessionmaker[Session]


class DatabaseAway(Exception):
    """The database cannot store anything now; the message is not at fault."""

    @property
    def fault(self) -> str:
        """Return the class of the cause, as ``DiskFull 53100``."""
        return class_and_sqlstate(self.__cause__ or self)


class MessageFault(Exception):
    """The database refused a message's content."""


def transaction(sessions: Sessions, work: Callable[[Session, datetime], T]) -> T:
    """Run ``work`` and commit. Raises `MessageFault` or `DatabaseAway`, having stored nothing."""
    backoff = Backoff(base_s=0.02, limit_s=0.5)
    for attempt in range(1, TRIES + 1):
        try:
            with sessions() as session:
                result = work(session, datetime.now(UTC))
                session.commit()
                return result
        except DBAPIError as error:
            _require_retryable(sessions, error, last=attempt == TRIES)
        except (ValueError, UnicodeError) as error:
            raise MessageFault(str(error)) from error  # psycopg2 itself refuses NUL and lone surrogates
        except SQLAlchemyError as error:
            raise DatabaseAway(_summary(error)) from error
        time.sleep(backoff.next())
    raise AssertionError("unreachable")


def is_reachable(sessions: Sessions) -> bool:
    """Return whether the database answers at all; only a batch can tell whether it accepts writes."""
    try:
        with sessions() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _require_retryable(sessions: Sessions, error: DBAPIError, *, last: bool) -> None:
    """Return if the transaction is worth a retry; otherwise raise `MessageFault` or `DatabaseAway`."""
    code, fault = sqlstate(error), classify(error)
    if fault in {DatabaseFault.VALUE, DatabaseFault.CONFLICT}:
        raise MessageFault(f"SQLSTATE {code}") from error
    if fault is DatabaseFault.MISSING_PARTITION:
        _make_partitions(sessions)
    elif fault is not DatabaseFault.TRANSIENT:
        raise DatabaseAway(_summary(error)) from error
    if last:
        raise DatabaseAway(_summary(error)) from error
    log.info("transaction_retried sqlstate=%s", code or "connection lost")


def _make_partitions(sessions: Sessions) -> None:
    with sessions() as session:
        made = partitions.ensure(session, datetime.now(UTC))
        session.commit()
    log.warning("partitions_made names=%s", made)


def _summary(error: SQLAlchemyError) -> str:
    """Return one line without the statement and its parameters, which must not reach the log."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"


def store(sessions: Sessions, reports: Sequence[Report]) -> Taken:
    """Store a batch; quarantine poison messages and store the rest. Raises `DatabaseAway`."""
    if not reports:
        return Taken([], [], [])
    try:
        return transaction(sessions, lambda session, now: intake.take(session, reports, now))
    except MessageFault as fault:
        if len(reports) > 1:
            middle = len(reports) // 2
            return _joined(store(sessions, reports[:middle]), store(sessions, reports[middle:]))
        return _store_items(sessions, reports[0], fault)


def _store_items(sessions: Sessions, report: Report, fault: MessageFault) -> Taken:
    """Store one message's items, halving them in the same way."""
    if len(report.items) > 1:
        middle = len(report.items) // 2
        first = store(sessions, [msgspec.structs.replace(report, items=report.items[:middle])])
        second = store(sessions, [msgspec.structs.replace(report, items=report.items[middle:])])
        facts = _newest(first.facts + second.facts)
        return Taken([first.answers[0] + second.answers[0]], facts, second.vehicles)
    quarantine_all(sessions, [(report, Rejection(reason=POISON, detail=str(fault)))])
    return Taken([[DeviceAnswer(Result.REJECTED, POISON)]], [], [None])


def quarantine_all(sessions: Sessions, refused: Sequence[tuple[Report, Rejection]]) -> None:
    """Quarantine whole messages, in one transaction. Raises `DatabaseAway`."""
    if not refused:
        return

    def keep(session: Session, now: datetime) -> None:
        devices = known_devices(session, {report.device_id for report, _rejection in refused}, now)
        quarantine.keep(session, [_quarantined(devices, *item) for item in refused], now)

    try:
        transaction(sessions, keep)
    except MessageFault as fault:
        # Only ids and bytes are written here, so this is a bug of ours; losing the message would be worse.
        raise DatabaseAway(f"the quarantine refused a message: {fault}") from fault


def _quarantined(devices: Mapping[str, KnownDevice], report: Report, rejection: Rejection) -> Quarantined:
    device = devices.get(report.device_id)
    return Quarantined(
        company_id=device.company_id if device else None,
        device_id=report.device_id,
        topic=report.topic,
        raw=report.raw,
        reason=rejection.reason,
        detail=rejection.detail,
    )


def _joined(first: Taken, second: Taken) -> Taken:
    return Taken(
        first.answers + second.answers, _newest(first.facts + second.facts), first.vehicles + second.vehicles
    )


def _newest(facts: Sequence[PositionFact]) -> list[PositionFact]:
    """Return one fact per vehicle, the last: it was made under the later lock."""
    return list({fact.vehicle: fact for fact in facts}.values())
