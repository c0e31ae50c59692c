"""The outbox relay: publishes outbox rows in order, then deletes them.

Invariants: the relay works on the very connection that holds the leader's lock, so losing the lock stops it.
It confirms the lock after each connection to the broker and before publishing over it; the broker ends a
connection when another client of the same id connects. So a leader that was frozen publishes nothing any more
once its successor has published. A row is deleted only after its PUBACK reported success, and only with every
row before it; after a refusal all later rows stay and are published again. So a crash may publish twice but
loses nothing, and the last message is the right one.
Errors: a broker that is away is waited for and does not count as a refusal; a row refused 5 times is
dead-lettered and blocks no other; the database's errors end `Relay.run` and are its owner's to handle.
"""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Protocol

from prometheus_client import Counter
from sqlalchemy.orm import Session, sessionmaker

from broker import outbox_messages, payloads
from broker.access_control import provisioning
from broker.access_control.control import Control, ControlError
from broker.connection import login
from broker.link import WINDOW, BrokerAway, BrokerLink, BrokerRefused
from broker.outbox_messages import OutboxRow, RowError
from core.backoff import Backoff
from core.database.dedicated import Connection, execute, listen, wait_notified
from core.deliveries import open_facts
from core.health import heartbeats
from core.health.heartbeats import Beat, PartState
from core.identities import PROVISIONER_USER, RELAY_USER
from core.logs import LoggedStates
from core.records import outbox
from core.records.outbox import OutboxKind
from core.request_ids import carried_on
from core.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 1.0  # the fallback below NOTIFY, and the longest that a stop goes unnoticed
ATTEMPTS = 5
STUCK_AFTER_S = 30.0  # longer than any wait for the broker or the database
REFUSED_ALERT_S = 60.0

PUBLISHED = Counter("milepost_relay_published", "Outbox rows published and deleted")
REFUSED = Counter("milepost_relay_refused", "Times that the broker refused an outbox row")
DEAD_LETTERED = Counter("milepost_relay_parked", "Outbox rows given up after repeated refusal")


class Stopping(Protocol):
    """A `threading.Event`, or a leader's term that may end by itself."""

    def is_set(self) -> bool: ...


class Relay:
    """``connection`` is the leader's own; ``sessions`` are for reading only."""

    def __init__(
        self,
        connection: Connection,
        sessions: sessionmaker[Session],
        settings: Settings,
        stop: Stopping,
    ) -> None:
        self._connection = connection
        self._sessions = sessions
        self._settings = settings
        self._mqtt_key = settings.mqtt_key.get_secret_value()
        self._stop = stop
        self._backoff = Backoff()
        self._refusals = LoggedStates(after_s=REFUSED_ALERT_S)
        # why nothing is relayed; None while the relay works
        self._fault: str | None = "it has not connected yet"
        self._impairment: str | None = None  # what failed although the broker is connected
        self._progressed_at = time.monotonic()
        self._published_at: datetime | None = None

    def beats(self) -> list[Beat]:
        """Return the relay's beat. Called by the heartbeat thread."""
        state, detail = self._state()
        relay = heartbeats.PartKind.RELAY
        return [Beat(part=relay, name="relay", state=state, detail=detail, worked_at=self._published_at)]

    def _state(self) -> tuple[PartState, str | None]:
        if (fault := self._fault) is not None:
            return PartState.OFF_BROKER, fault
        if (still_s := time.monotonic() - self._progressed_at) > STUCK_AFTER_S:
            return PartState.STUCK, f"for {still_s:.0f} s"
        return PartState.IMPAIRED if self._impairment else PartState.OK, self._impairment

    def run(self) -> None:
        """Relay until ``stop``. Raises `psycopg2.Error` or `SQLAlchemyError` when the database fails."""
        listen(self._connection, outbox.CHANNEL)
        while not self._stop.is_set():
            self._confirm()  # or the connection below would displace the present leader's
            try:
                with BrokerLink(login(self._settings, RELAY_USER)) as link:
                    self._confirm()
                    self._serve(link)
            except BrokerAway as error:
                self._fault = error.summary
                log.warning("relay_broker_away reason=%r", str(error))
                if isinstance(error, BrokerRefused):
                    self._note_login_refused(str(error))
                self._pause(self._backoff.next())

    def _confirm(self) -> None:
        """Raise `psycopg2.Error` unless the lock is still ours: it ends with its session, and only then."""
        execute(self._connection, "SELECT 1")

    def _note_login_refused(self, reason: str) -> None:
        # A broker that has lost its users answers, but refuses every login: one that is away does not answer.
        since_s = self._refusals.begin("login", "refused", time.monotonic())
        if since_s is not None:
            log.error("alert=broker_refuses_us since_s=%.0f reason=%r", since_s, reason)

    def _note_login_accepted(self) -> None:
        if self._refusals.end("login", time.monotonic()) is not None:
            log.warning("broker_lets_us_in_again")

    def _serve(self, link: BrokerLink) -> None:
        self._fault = "it is bringing the broker up to date"
        self._reconcile()
        self._note_login_accepted()
        self._publish_open_deliveries(link)
        self._backoff.reset()
        self._fault = None
        while not self._stop.is_set():
            self._progressed_at = time.monotonic()
            if not self._relay_some(link):
                self._wait_for_rows(link)

    def _reconcile(self) -> None:
        """Reconcile the broker's users and roles with the database."""
        # A broker that came back may have an older plugin file than the one it last acknowledged.
        self._impairment = None
        try:
            with Control(login(self._settings, PROVISIONER_USER)) as control, self._sessions() as session:
                self._confirm()
                provisioning.reconcile(control, session, self._mqtt_key)
        except ControlError as error:
            self._impairment = "the broker's users and roles may differ from the database"
            log.error("access_not_reconciled reason=%r", str(error))

    def _publish_open_deliveries(self, link: BrokerLink) -> None:
        """Publish the status of every open delivery as a retained fact."""
        # A PUBACK is no guarantee: a broker killed after it may have lost a retained fact.
        published = refused = 0
        with self._sessions() as session:
            facts = open_facts.read(session, datetime.now(UTC))
            while batch := list(islice(facts, WINDOW)):
                sent = [link.publish(*payloads.status_message(fact), retain=True) for fact in batch]
                refused += sum(answer.is_failure for answer in link.wait_for_answers(sent))
                published += len(batch)
        log.log(
            logging.ERROR if refused else logging.INFO,
            "relay_connected open_facts=%d refused=%d",
            published,
            refused,
        )

    def _relay_some(self, link: BrokerLink) -> bool:
        """Relay the next rows of one kind, access changes or facts; return False when there are none."""
        rows = [OutboxRow(*row) for row in execute(self._connection, outbox.NEXT_ROWS, (WINDOW,))]
        if not rows:
            return False
        are_access = rows[0].kind in provisioning.KINDS
        same = list(takewhile(lambda row: (row.kind in provisioning.KINDS) == are_access, rows))
        done, error = self._apply(same) if are_access else outbox_messages.publish(link, same)
        if done:
            execute(self._connection, outbox.DELETE_ROWS, ([row.id for row in same[:done]],))
            PUBLISHED.inc(done)
            self._published_at = datetime.now(UTC)
        if error is not None:
            with carried_on(same[done].request_id):
                self._count_refusal(same[done], str(error))
        return True

    def _apply(self, rows: Sequence[OutboxRow]) -> tuple[int, RowError | None]:
        """Apply access changes to the broker; return how many rows are done and the next one's error."""
        done = 0
        with Control(login(self._settings, PROVISIONER_USER)) as control, self._sessions() as session:
            self._confirm()
            for row in rows:
                try:
                    with carried_on(row.request_id):
                        provisioning.apply(
                            control, session, self._mqtt_key, OutboxKind(row.kind), row.payload
                        )
                except (ControlError, ValueError, KeyError, TypeError) as error:
                    return done, RowError(f"{type(error).__name__}: {error}")
                done += 1
        return done, None

    def _count_refusal(self, row: OutboxRow, error: str) -> None:
        REFUSED.inc()
        counted = execute(self._connection, outbox.COUNT_REFUSAL, (error, ATTEMPTS, row.id))
        if counted == [(True,)]:
            DEAD_LETTERED.inc()
            log.error("alert=outbox_row_parked row=%d kind=%s error=%r", row.id, row.kind, error)
        else:
            log.warning("relay_row_refused row=%d kind=%s error=%r", row.id, row.kind, error)
            self._pause(Backoff(base_s=0.2, tries=row.attempts).next())

    def _wait_for_rows(self, link: BrokerLink) -> None:
        """Wait for a notification, the next poll, or input from the broker."""
        wait_notified(self._connection, POLL_S, link)
        link.loop()

    def _pause(self, seconds: float) -> None:
        """Wait ``seconds``, less on a stop. Raises `psycopg2.Error` when the leader's connection is lost."""
        deadline = time.monotonic() + seconds
        while not self._stop.is_set() and (left := deadline - time.monotonic()) > 0:
            wait_notified(self._connection, min(left, POLL_S))
