"""A driver's request from a phone, through the same function as REST, each in its own transaction."""

from datetime import datetime

from sqlalchemy.orm import Session

from broker import payloads
from core import deliveries, intake
from core.errors import DomainError
from core.fixes import Rejection
from core.intake import Report
from formats import status
from formats.status import StatusMessage
from ingest.metrics import Metrics
from ingest.storing import MessageFault, Sessions, refuse, transaction


class Refused(Exception):
    """The request came from a device that may not make it."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection


NOT_A_DRIVER = Rejection(reason="not_a_driver", detail="only a device bound to a driver may send a status")


def answer(sessions: Sessions, report: Report, metrics: Metrics) -> bytes:
    """Apply the request and return the reply. A refusal is quarantined. Raises `storing.DatabaseAway`."""
    message = status.decode(report.raw)
    if isinstance(message, Rejection):
        return _refuse(sessions, report, message.message_id, message.reason, message.detail, metrics)
    try:
        written = transaction(sessions, lambda session, now: _apply(session, report.device_id, message, now))
    except Refused as refused:
        rejection = refused.rejection
        return _refuse(sessions, report, message.message_id, rejection.reason, rejection.detail, metrics)
    except MessageFault as fault:
        reason = "refused_by_database"
        return _refuse(sessions, report, message.message_id, reason, str(fault), metrics)
    except DomainError as error:
        reply = _refuse(sessions, report, message.message_id, error.name, error.detail, metrics, error)
        return reply
    metrics.status_requests.labels("stored" if written else "duplicate").inc()
    return payloads.reply("stored" if written else "duplicate", id=message.message_id)


def _apply(session: Session, device_id: str, message: StatusMessage, now: datetime) -> bool:
    device = intake.known_devices(session, [device_id]).get(device_id)
    if device is None:
        raise Refused(intake.UNKNOWN_DEVICE)
    if device.refusal is not None and device.refusal is not intake.NO_VEHICLE:
        raise Refused(device.refusal)
    actor = intake.phone_actor(device_id, device)
    if actor is None:
        raise Refused(NOT_A_DRIVER)
    return deliveries.change_status(session, actor, message.delivery_id, message.request, now).written


def _refuse(
    sessions: Sessions,
    report: Report,
    message_id: str | None,
    reason: str,
    detail: str,
    metrics: Metrics,
    error: DomainError | None = None,
) -> bytes:
    metrics.status_requests.labels("rejected").inc()
    refuse(sessions, report, reason, detail)
    facts = error.facts if error else {}
    return payloads.reply(
        "rejected", reason, id=message_id, current=facts.get("current"), allowed=facts.get("allowed")
    )
