"""The calls of one endpoint, one after another: in the queue's order as long as none fails."""

import logging
import time
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.orm import Session, sessionmaker

from core.models.company import Company
from core.models.notification import Webhook
from core.notifications import claims
from core.notifications.claims import AttemptOutcome, Claimed
from core.notifications.webhooks import endpoints
from jobs.sender import metrics
from jobs.sender.recording import Recorder, is_held_up
from jobs.sender.webhooks.caller import Caller, body_of, headers_of

log = logging.getLogger(__name__)

TURN_S = 10.0  # then another endpoint has its turn


def drain(
    webhook_id: int, sessions: sessionmaker[Session], caller: Caller, key: str, recorder: Recorder
) -> None:
    """Call until nothing is due, a call fails, or the turn is over."""
    began = time.monotonic()
    while not recorder.is_stopping:
        outcome = _call_next(webhook_id, sessions, caller, key, recorder)
        if outcome is None or outcome.error is not None or time.monotonic() - began >= TURN_S:
            return


def _call_next(
    webhook_id: int, sessions: sessionmaker[Session], caller: Caller, key: str, recorder: Recorder
) -> AttemptOutcome | None:
    now, claimed_at = datetime.now(UTC), time.monotonic()
    with sessions.begin() as session:
        claimed = claims.claim_call(session, webhook_id, now)
        if claimed is None:
            return None
        webhook = session.get_one(Webhook, webhook_id)
        company = session.get_one(Company, claimed.company_id).slug
    if is_held_up(claimed_at):
        return None
    body = body_of(claimed, company)
    outcome = caller.post(
        webhook.url, body, headers_of(claimed, body, endpoints.secrets(webhook, key, now), now)
    )
    recorder.keep(partial(_note, claimed=claimed, outcome=outcome))
    metrics.count("webhook", outcome)
    if outcome.error is not None:
        log.info(
            "webhook_failed webhook=%d notification=%d attempt=%d error=%r",
            webhook_id,
            claimed.sequence,
            claimed.number,
            outcome.error,
        )
    return outcome


def _note(session: Session, claimed: Claimed, outcome: AttemptOutcome) -> None:
    if claims.note_call(session, claimed, outcome, datetime.now(UTC)):
        log.error("alert=webhook_disabled company=%d webhook=%d", claimed.company_id, claimed.webhook_id)
