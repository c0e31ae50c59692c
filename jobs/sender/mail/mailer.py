"""Send e-mails over one SMTP connection: password links first, then notifications, round robin by company."""

import logging
import re
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.accounts import links
from core.accounts.links import OwedLink
from core.backoff import Backoff
from core.detectors.near_arrivals import minutes_left
from core.logs import LoggedStates
from core.models.company import Company
from core.notifications import attempts, claims
from core.notifications.attempts import AttemptOutcome
from core.notifications.claims import Claimed
from core.notifications.content import templates
from core.notifications.kinds import Audience, Event
from core.request_ids import carried_on
from core.settings import Settings
from jobs.sender import metrics
from jobs.sender.mail import messages
from jobs.sender.mail.attachments import DailyReports
from jobs.sender.mail.smtp import ServerAway, SmtpSession
from jobs.sender.recording import Recorder

log = logging.getLogger(__name__)

AT_MOST = 200  # messages per connection
FIRST_PAUSE_S = 2.0
NO_PUBLIC_URL = "MILEPOST_PUBLIC_URL is not set: a link needs it"
_VARYING = re.compile(r"\d+")  # queue ids, ports and times: another number is not another reason


class Mailer:
    """Shared by the sending threads, which have one back-off together for a server that is away."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: Settings,
        recorder: Recorder,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._recorder = recorder
        self._tls = tls
        self._backoff = Backoff(base_s=FIRST_PAUSE_S, limit_s=60.0)
        self._paused_until = 0.0
        self._last_company = 0
        self._open: set[SmtpSession] = set()
        self._daily_reports = DailyReports(sessions)
        self._states = LoggedStates()

    @property
    def is_ready(self) -> bool:
        return self._settings.smtp_host is not None and time.monotonic() >= self._paused_until

    def has_work(self, session: Session, now: datetime) -> bool:
        return claims.is_mail_due(session, now) or (
            self._settings.public_url is not None and links.is_any_due(session, now)
        )

    def drain(self) -> None:
        """Send until no e-mail is due or the server is away."""
        connection = SmtpSession(self._settings, self._tls)
        self._open.add(connection)
        try:
            with connection:
                self._backoff.reset()
                for _ in range(AT_MOST):
                    if self._recorder.is_stopping:
                        return
                    is_more = self._send_next(connection)
                    # Not earlier: some servers accept connections, but no message.
                    if self._states.end("smtp_away", time.monotonic()) is not None:
                        log.info("smtp_away is_over=true")
                    if not is_more:
                        return
        except ServerAway as away:
            self._pause(str(away))
        except SQLAlchemyError:
            raise
        except Exception as fault:
            # A fault of ours, before anything was claimed: without a pause the next attempt follows at once.
            self._pause(f"e-mails cannot be sent: {type(fault).__name__}")
            raise
        finally:
            self._open.discard(connection)

    def cut_all(self) -> None:
        for connection in list(self._open):
            connection.cut()

    def explain(self, session: Session, now: datetime) -> None:
        """Record on every waiting e-mail that no server is configured."""
        if attempts.record_waiting(session, attempts.NO_SERVER, now):
            self._warn_once("alert=emails_wait", attempts.NO_SERVER)
        self.explain_links(session, now)

    def explain_links(self, session: Session, now: datetime) -> None:
        reason = attempts.NO_SERVER if self._settings.smtp_host is None else NO_PUBLIC_URL
        if links.note_waiting(session, reason, now):
            self._warn_once("alert=password_links_wait", reason)

    def _warn_once(self, state: str, reason: str) -> None:
        if self._states.begin(state, _VARYING.sub("#", reason), time.monotonic()) is not None:
            log.warning(f"{state} reason=%r", reason)

    def _pause(self, reason: str) -> None:
        wait_s = self._backoff.next()
        self._paused_until = time.monotonic() + wait_s
        self._warn_once("smtp_away", reason)
        log.debug("smtp_paused wait_s=%.1f reason=%r", wait_s, reason)
        with self._sessions.begin() as session:
            attempts.record_waiting(session, reason, datetime.now(UTC))

    def _send_next(self, connection: SmtpSession) -> bool:
        return self._send_link(connection) or self._send_notification(connection)

    def _send_link(self, connection: SmtpSession) -> bool:
        if self._settings.public_url is None:
            return False
        now = datetime.now(UTC)
        owed = self._recorder.claim(lambda session: next(iter(links.take_owed(session, now, limit=1)), None))
        if owed is None:
            return False
        with carried_on(owed.request_id):
            outcome, away = _sent(connection, self._link_message, owed)
            self._recorder.record(partial(_record_link, owed=owed, outcome=outcome))
            _count(outcome, away, "link=%d attempt=%d", owed.link_id, owed.attempt)
        return True

    def _send_notification(self, connection: SmtpSession) -> bool:
        now, after = datetime.now(UTC), self._last_company
        claimed = self._recorder.claim(lambda session: claims.claim_mail(session, now, after_company=after))
        if claimed is None:
            return False
        self._last_company = claimed.company_id
        with carried_on(claimed.request_id):
            outcome, away = _sent(connection, self._notification_message, claimed)
            self._recorder.record(
                lambda session: attempts.record_mail(session, claimed, outcome, datetime.now(UTC))
            )
            _count(outcome, away, "notification=%d attempt=%d", claimed.sequence, claimed.number)
        return True

    def _link_message(self, owed: OwedLink) -> EmailMessage:
        public_url, sender = self._settings.public_url or "", self._settings.smtp_from or ""
        return messages.of_link(owed, public_url, sender, datetime.now(UTC))

    def _notification_message(self, claimed: Claimed) -> EmailMessage:
        event, audience = Event(claimed.event), Audience(claimed.audience)
        with self._sessions() as session:
            company = session.get_one(Company, claimed.company_id)
            texts = templates.own_texts(session, claimed.company_id, event, audience)
        facts = {**_present_facts(claimed, datetime.now(UTC)), "company_name": company.name}
        rendered = templates.write(texts, facts, company.time_zone)
        message = messages.of_notification(claimed, rendered, company.name, self._settings.smtp_from or "")
        if event is Event.DAILY_REPORT:
            self._daily_reports.attach(message, claimed)
        return message


def _present_facts(claimed: Claimed, now: datetime) -> dict[str, Any]:
    """Return the facts with ``minutes`` until an arrival counted from now: the e-mail may have waited."""
    facts = dict(claimed.payload)
    if claimed.event == Event.ARRIVING_SOON and isinstance(facts.get("eta"), str):
        facts["minutes"] = minutes_left(datetime.fromisoformat(facts["eta"]), now)
    return facts


def _sent(connection: SmtpSession, compose: Any, source: Any) -> tuple[AttemptOutcome, ServerAway | None]:
    """Send one e-mail; return its outcome, and the error that ended the connection, if any."""
    # The error is returned so that the caller records the outcome before raising it.
    try:
        return connection.send(compose(source)), None
    except messages.UnusableRecipient as bad:
        return AttemptOutcome(error=str(bad), is_final=True), None
    except ServerAway as away:
        return AttemptOutcome(error=str(away)), away
    except SQLAlchemyError:
        raise
    except Exception as fault:
        # A fault of ours or of this machine must be logged and must not stop other e-mails. It is never
        # final: an update or a repair may fix it before the message expires.
        log.exception("mail_cannot_be_written")
        return AttemptOutcome(error=f"the e-mail cannot be written: {type(fault).__name__}"), None


def _count(outcome: AttemptOutcome, away: ServerAway | None, attempt: str, *ids: int) -> None:
    metrics.count("email", outcome)
    if outcome.error is not None:
        log.info(f"mail_failed {attempt} error=%r", *ids, outcome.error)
    if away is not None:
        raise away


def _record_link(session: Session, owed: OwedLink, outcome: AttemptOutcome) -> None:
    if outcome.error is None:
        return links.sent(session, owed)
    wait: timedelta = attempts.retry_wait(owed.attempt, attempts.MAIL_WAITS_S)
    again_at = None if outcome.is_final else datetime.now(UTC) + wait
    return links.not_sent(session, owed, outcome.error, again_at)
