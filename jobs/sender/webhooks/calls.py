"""The calls of one endpoint, one after another: in the queue's order as long as none fails."""

import logging
import time
from datetime import UTC, datetime
from functools import partial

from core.notifications import attempts, claims
from core.notifications.claims import ClaimedCall
from core.notifications.webhooks import endpoints
from core.request_ids import carried_on
from jobs.sender import metrics
from jobs.sender.recording import Recorder
from jobs.sender.webhooks.caller import Caller, body_of, headers_of

log = logging.getLogger(__name__)

TIME_SLICE_S = 10.0  # then another endpoint is called


def drain(webhook_id: int, caller: Caller, key: str, recorder: Recorder) -> None:
    """Call until nothing is due, a call fails, or the time slice is over."""
    until = time.monotonic() + TIME_SLICE_S
    is_to_go_on = True
    while is_to_go_on:
        now = datetime.now(UTC)
        call = recorder.claim(partial(claims.claim_call, webhook_id=webhook_id, now=now))
        if call is None:
            return
        with carried_on(call.claimed.request_id):
            is_to_go_on = _make(call, caller, key, recorder, now) and time.monotonic() < until


def _make(call: ClaimedCall, caller: Caller, key: str, recorder: Recorder, now: datetime) -> bool:
    """Make the call and record its outcome; return whether it succeeded."""
    claimed, endpoint = call.claimed, call.endpoint
    secrets = endpoints.secrets(endpoint, key, now)
    body = body_of(claimed, endpoint.company)
    outcome = caller.post(endpoint.url, body, headers_of(claimed, body, secrets, now))
    is_disabled = recorder.record(
        lambda session: attempts.record_call(session, claimed, outcome, datetime.now(UTC))
    )
    metrics.count("webhook", outcome)
    if outcome.error is not None:
        log.info(
            "webhook_failed webhook=%d notification=%d attempt=%d error=%r",
            endpoint.id,
            claimed.sequence,
            claimed.number,
            outcome.error,
        )
    if is_disabled:
        log.error("alert=webhook_disabled company=%d webhook=%d", claimed.company_id, endpoint.id)
    return outcome.error is None
