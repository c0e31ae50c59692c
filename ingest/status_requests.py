"""Drivers' status requests from phones, through the same function as REST, each in its own transaction.

Refused requests are quarantined together, after the last one. So a request costs at most two transactions,
and a device that floods us is rate-limited without any.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from broker import payloads
from core.deliveries import status_changes
from core.errors import DomainError
from core.positions import devices
from core.positions.intake import OTHER_COMPANY, Report
from core.rules.fix import MessageId, Rejection
from formats import status
from formats.status import StatusMessage
from ingest.metrics import IngestMetrics
from ingest.rate_limit import RateLimit
from ingest.storing import POISON, MessageFault, Sessions, quarantine_all, transaction

NOT_A_DRIVER = Rejection(reason="not_a_driver", detail="only a device bound to a driver may send a status")
TOO_MANY = Rejection(
    reason="too_many_requests", detail="this device sends more status requests than a driver can"
)


class StatusRefused(Exception):
    """The request is refused; ``error`` carries the facts when a domain rule refused it."""

    def __init__(self, rejection: Rejection, error: DomainError | None = None) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection
        self.error = error


class StatusOutcome(msgspec.Struct, frozen=True):
    """``reply`` is for the phone; a ``rejection`` is quarantined before the reply is sent."""

    reply: bytes
    rejection: Rejection | None = None


def answer_all(
    sessions: Sessions, reports: Sequence[Report], limit: RateLimit, metrics: IngestMetrics
) -> list[bytes]:
    """Apply the requests in order and return their replies. Raises `storing.DatabaseAway`."""
    outcomes = [_answer(sessions, report, limit) for report in reports]
    refused = [
        (report, outcome.rejection)
        for report, outcome in zip(reports, outcomes, strict=True)
        if outcome.rejection is not None
    ]
    quarantine_all(sessions, refused)
    metrics.status_requests.labels("rejected").inc(len(refused))
    metrics.status_requests.labels("answered").inc(len(outcomes) - len(refused))
    return [outcome.reply for outcome in outcomes]


def _answer(sessions: Sessions, report: Report, limit: RateLimit) -> StatusOutcome:
    message = status.decode(report.raw, report.device_id)
    if isinstance(message, Rejection):
        return _refusal(StatusRefused(message), message.message_id)
    try:
        if not limit.allows(report.device_id):
            raise StatusRefused(TOO_MANY)
        written = transaction(sessions, lambda session, now: _apply(session, report.device_id, message, now))
    except StatusRefused as refused:
        return _refusal(refused, message.message_id)
    except MessageFault as fault:
        return _refusal(StatusRefused(Rejection(reason=POISON, detail=str(fault))), message.message_id)
    except DomainError as error:
        rejection = Rejection(reason=error.name, detail=error.detail)
        return _refusal(StatusRefused(rejection, error), message.message_id)
    return StatusOutcome(payloads.reply("stored" if written else "duplicate", id=message.message_id))


def _apply(session: Session, device_id: str, message: StatusMessage, now: datetime) -> bool:
    device = devices.known_devices(session, [device_id], now).get(device_id)
    if device is None:
        raise StatusRefused(devices.UNKNOWN_DEVICE)
    if device.refusal is not None and device.refusal is not devices.NO_VEHICLE:
        raise StatusRefused(device.refusal)
    if message.company not in {None, device.company}:
        raise StatusRefused(OTHER_COMPANY)
    if device.is_contact_due:
        devices.record_contact(session, [device_id], now)
    actor = devices.phone_actor(device_id, device)
    if actor is None:
        raise StatusRefused(NOT_A_DRIVER)
    return status_changes.change_status(session, actor, message.delivery_id, message.request, now).written


def _refusal(refused: StatusRefused, message_id: MessageId | None) -> StatusOutcome:
    facts = refused.error.facts if refused.error else {}
    reply = payloads.reply(
        "rejected",
        refused.rejection.reason,
        id=message_id,
        current=facts.get("current"),
        allowed=facts.get("allowed"),
        missing=facts.get("missing"),
    )
    return StatusOutcome(reply, refused.rejection)
