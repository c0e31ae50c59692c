"""The sender: delivers queued notifications (`core.notifications.queue`) by e-mail and webhook.

Invariants: no transaction stays open during a network call, a lease on the row replaces it; one call at a
time per endpoint, so that a slow one blocks one thread and its events stay in order; e-mails have their own
threads.
Errors: a failure of the receiver is an outcome and is recorded; a database error ends one worker, and the
next round starts another; an unfinished attempt is repeated after its lease.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial

import psycopg2
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.backoff import Backoff
from core.database import dedicated
from core.notifications import claims
from core.notifications.queue import CHANNEL
from core.settings import Settings
from jobs.sender.endpoint_order import Endpoint, EndpointOrder
from jobs.sender.mail.mailer import Mailer
from jobs.sender.recording import Recorder
from jobs.sender.webhooks import calls
from jobs.sender.webhooks.caller import Caller

log = logging.getLogger(__name__)

POLL_S = 1.0  # the fallback below NOTIFY
ENDPOINTS_AT_ONCE = 16
ENDPOINTS_OF_A_COMPANY = 4
ENDPOINTS_LOOKED_AT = 1000
MAIL_CONNECTIONS = ("mail-1", "mail-2")
LISTEN_S = 1.0  # the longest that the listener does not notice a stop
EXPLAIN_EVERY_S = 10.0
LAST_CALLS_S = 2.0  # for calls under way at a stop; then they are cut, and sent again
CUT_S = 1.0


class NotificationSender:
    """``caller`` is made from the settings unless a test passes its own; no work starts once ``is_over``."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: Settings,
        caller: Caller | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._stop = threading.Event()
        self._wake_up = threading.Event()
        self._is_over = is_over
        self._recorder = Recorder(sessions, self._stop, is_over)
        self._caller = caller or Caller(settings.webhook_networks)
        self._mailer = Mailer(sessions, settings, self._recorder)
        self._workers: dict[object, threading.Thread] = {}
        self._order = EndpointOrder(ENDPOINTS_AT_ONCE, ENDPOINTS_OF_A_COMPANY)
        self._explained_at = -EXPLAIN_EVERY_S

    def run(self) -> None:
        """Start due work, then wait for a notification, a worker's end or the poll; repeat until `stop`."""
        log.info("sender_started smtp=%s", self._settings.smtp_host or "none")
        listener = threading.Thread(target=self._listen, name="notifications-listener", daemon=True)
        listener.start()
        backoff = Backoff(limit_s=5.0)
        while not self._stop.is_set():
            self._wake_up.clear()
            try:
                if not self._is_over():
                    self._start_due()
            except SQLAlchemyError as error:
                log.warning("sender_database_lost reason=%r", str(error).strip())
                self._stop.wait(backoff.next())
            else:
                backoff.reset()
                self._wake_up.wait(POLL_S)
        self._end_workers(listener)
        log.info("sender_stopped")

    def stop(self) -> None:
        self._stop.set()
        self._wake_up.set()

    def _start_due(self) -> None:
        busy = {key for key, thread in list(self._workers.items()) if thread.is_alive()}
        now = datetime.now(UTC)
        calling = [key for key in busy if isinstance(key, Endpoint)]
        with self._sessions.begin() as session:
            begun = self._order.begin(self._ready(session, now, calling), calling)
            has_mail = self._mailer.is_ready and self._mailer.has_work(session, now)
            self._explain(session, now)
        key = self._settings.mqtt_key.get_secret_value()
        for one in begun:
            self._start(one, partial(calls.drain, one.webhook_id, self._caller, key, self._recorder))
        idle = [name for name in MAIL_CONNECTIONS if name not in busy]
        # One per round: a second connects only if the first has not emptied the queue by then.
        if has_mail and idle:
            self._start(idle[0], self._mailer.drain)

    def _ready(self, session: Session, now: datetime, calling: Sequence[Endpoint]) -> list[Endpoint]:
        if len(calling) == ENDPOINTS_AT_ONCE:
            return []
        busy = [endpoint.webhook_id for endpoint in calling]
        found = claims.ready_webhooks(session, now, busy=busy, limit=ENDPOINTS_LOOKED_AT)
        return [Endpoint(*ids) for ids in found]

    def _explain(self, session: Session, now: datetime) -> None:
        """Record on waiting e-mails, every `EXPLAIN_EVERY_S`, which setting they wait for."""
        if time.monotonic() - self._explained_at < EXPLAIN_EVERY_S:
            return
        self._explained_at = time.monotonic()
        if self._settings.smtp_host is None:
            self._mailer.explain(session, now)
        elif self._settings.public_url is None:
            self._mailer.explain_links(session, now)

    def _start(self, key: object, work: Callable[[], None]) -> None:
        """Start a worker thread."""
        # A daemon: a thread that waits for a name server must not block the process's exit.
        thread = threading.Thread(target=self._work, args=(key, work), name=f"sender-{key}", daemon=True)
        self._workers[key] = thread
        thread.start()

    def _work(self, key: object, work: Callable[[], None]) -> None:
        is_done = False
        try:
            work()
            is_done = True
        except SQLAlchemyError as error:
            log.warning("sender_worker_ended worker=%s reason=%r", key, str(error).strip())
        except Exception:
            log.exception("sender_worker_failed worker=%s", key)
        self._workers.pop(key, None)
        if is_done:  # otherwise the next attempt waits for the poll: it may fail as fast, again and again
            self._wake_up.set()

    def _listen(self) -> None:
        """Wake the loop at each NOTIFY; while the database is away, polling continues."""
        backoff = Backoff(limit_s=5.0)
        while not self._stop.is_set():
            try:
                with closing(dedicated.connect(self._settings, "jobs-listener")) as connection:
                    dedicated.listen(connection, CHANNEL)
                    backoff.reset()
                    while not self._stop.is_set():
                        if dedicated.wait_notified(connection, LISTEN_S):
                            self._wake_up.set()
            except psycopg2.Error as error:
                log.warning("sender_listens_no_more reason=%r", str(error).strip())
                self._stop.wait(backoff.next())

    def _end_workers(self, listener: threading.Thread) -> None:
        _join([listener, *self._workers.values()], LAST_CALLS_S)
        self._caller.cut_all()
        self._mailer.cut_all()
        _join([listener, *self._workers.values()], CUT_S)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def running(
    sessions: sessionmaker[Session],
    settings: Settings,
    caller: Caller | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[NotificationSender]:
    """Run the sender inside the context; on exit, cut calls that take longer than `LAST_CALLS_S`."""
    sender = NotificationSender(sessions, settings, caller, is_over)
    thread = threading.Thread(target=sender.run, name="sender")
    thread.start()
    try:
        yield sender
    finally:
        sender.stop()
        thread.join()
