"""A night of 500 deliveries: the e-mail server is dead, a webhook fails, the jobs process is killed.

In the morning every notification was sent once, or can be seen to have failed. Hours pass by moving what
waits: `hours_pass`.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.access.actors import Actor
from core.deliveries import status_changes
from core.deliveries.status_changes import StatusRequest
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.notification import NotificationSetting, Webhook
from core.models.people import AppUser
from core.notifications.attempts import FAILURES_ALLOWED
from core.notifications.queue import CHANNEL
from core.notifications.webhooks import endpoints
from core.rules.enums import Status
from core.settings import Settings
from local.services.ports import free_port
from tests.support import factories
from tests.support.servers.receivers import Call, HttpReceiver, SmtpInbox, http_receiver, smtp_server, status
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until as wait_within

DELIVERIES = 500
FAILED = 380  # of them fail at once, the others live a whole life
LATE = 20  # of them are never fetched, and their window ends
A_LIFE = (Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT, Status.DELIVERED)
HOURS_PASS = """
WITH waiting AS (
    SELECT id, attempts FROM notification n
    -- Only what waits: what is due and locked here would be passed over, and come late.
    WHERE state = 'queued' AND (next_attempt_at > now() OR :step > interval '0') AND NOT EXISTS (
        SELECT FROM notification_attempt a
        WHERE a.notification_id = n.id AND a.finished_at IS NULL AND a.error IS NULL)
)
UPDATE notification n SET next_attempt_at = least(next_attempt_at, now()), expires_at = expires_at - :step
FROM waiting w WHERE n.id = w.id AND n.attempts = w.attempts
"""
CHANGES = (DELIVERIES - FAILED - LATE) * len(A_LIFE) + FAILED


@dataclass
class Firm:
    company: Company
    manager: AppUser
    actor: Actor
    good: Webhook
    bad: Webhook
    deliveries: list[Delivery]


@pytest.fixture
def firm(session: Session, receivers: tuple[HttpReceiver, HttpReceiver]) -> Firm:
    company = factories.company(session, time_zone="Europe/Berlin")
    manager = factories.user(session, company)
    events = ("status_changed", "late", "webhook_disabled")
    setting = NotificationSetting(
        company_id=company.id, event="webhook_disabled", customer=False, managers=True
    )
    session.add(setting)
    good, bad = (factories.webhook(session, company, *events, url=one.url()) for one in receivers)
    firm = Firm(company, manager, factories.actor(company, manager), good, bad, _ordered(session, company))
    session.commit()
    return firm


def _ordered(session: Session, company: Company) -> list[Delivery]:
    now = datetime.now(UTC)
    ordered = []
    for number in range(DELIVERIES):
        customer = factories.customer(session, company, email=f"customer{number}@example.com")
        ends_in = timedelta(minutes=-5 if number < LATE else 600)
        window = {"window_start": now - timedelta(hours=2), "window_end": now + ends_in}
        values: dict[str, Any] = {"customer_id": customer.id, **window}
        if number >= LATE:
            values["vehicle_id"] = factories.vehicle(session, company).id
            values["driver_id"] = factories.driver(session, company).id
        ordered.append(factories.delivery(session, company, **values))
    return ordered


@pytest.fixture
def receivers() -> Iterator[tuple[HttpReceiver, HttpReceiver]]:
    """One that takes everything, and one that fails in three ways."""
    with http_receiver() as good, http_receiver() as bad:
        ways = (status(500), status(302, f"Location: {good.url()}"), "close")
        bad.answer = lambda _call: ways[len(bad.calls) % 3]
        yield good, bad


@pytest.fixture
def night(settings: Settings) -> Settings:
    smtp = {
        "smtp_host": "127.0.0.1",
        "smtp_port": free_port(),
        "smtp_tls": "none",
        "smtp_from": "m@example.org",
    }
    return settings.model_copy(update=smtp | {"webhook_allowed_networks": "127.0.0.0/8"})


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_in_the_morning_all_was_sent_once_or_is_seen_to_have_failed(
    session: Session,
    sessions: sessionmaker[Session],
    night: Settings,
    processes: Processes,
    firm: Firm,
    receivers: tuple[HttpReceiver, HttpReceiver],
) -> None:
    good, bad = receivers
    first = processes.start("jobs", settings=night)
    drive(sessions, firm)
    wait_until(lambda: len(good.calls) >= CHANGES // 3, "a third of the calls")
    first.kill()
    leases_end(session)
    processes.start("jobs", settings=night)
    wait_until(
        lambda: "cannot be used" in (waiting_mail(session) or ""), "the unreachable server to be reported"
    )
    with smtp_server(night.smtp_port) as (mailbox, _):
        drop_after(mailbox, CHANGES // 2)
        wait_until(lambda: is_disabled(session, firm.bad), "the bad webhook is given up", hours_pass, session)
        mailbox.on_data = lambda: "250 OK"
        wait_until(lambda: not is_mail_left(session), "every e-mail is sent", hours_pass, session)
    hours_pass(session, is_over=True)
    wait_until(lambda: states(session).keys() <= {"sent", "expired"}, "nothing waits any more")
    assert_calls(session, firm.good, good, night)
    assert_mails(session, mailbox)
    assert_given_up(session, firm, bad, mailbox)


def drive(sessions: sessionmaker[Session], firm: Firm) -> None:
    """Each change in a transaction of its own, as over REST."""
    for number, delivery in enumerate(firm.deliveries[LATE:]):
        lives = (Status.FAILED,) if number < FAILED else A_LIFE
        for target in lives:
            with sessions.begin() as session:
                reason = "nobody there" if target is Status.FAILED else None
                request = StatusRequest(status=target, reason=reason)
                status_changes.change_status(session, firm.actor, delivery.id, request, datetime.now(UTC))


def drop_after(mailbox: SmtpInbox, many: int) -> None:
    """After so many e-mails the server takes no more, for the time being."""
    mailbox.on_data = lambda: "250 OK" if len(mailbox.messages) < many else "451 the disk is full"


def hours_pass(session: Session, *, is_over: bool = False) -> None:
    """What waits, and is not just being sent, has waited two hours more; or for longer than a day."""
    session.rollback()
    session.execute(text(HOURS_PASS), {"step": timedelta(hours=25 if is_over else 0)})
    session.execute(text("UPDATE webhook SET retry_at = now() WHERE retry_at IS NOT NULL"))
    session.execute(text(f"NOTIFY {CHANNEL}"))
    session.commit()


def leases_end(session: Session) -> None:
    """Work that the killed process had begun is due before later work."""
    session.rollback()
    begun = {"ids": list(in_doubt(session))}
    session.execute(text("UPDATE notification SET next_attempt_at = created_at WHERE id = ANY(:ids)"), begun)
    session.commit()


def assert_calls(session: Session, webhook: Webhook, receiver: HttpReceiver, settings: Settings) -> None:
    """Every event reached the good endpoint, signed, in order for each delivery; again only if in doubt."""
    secret = endpoints.secret(settings.mqtt_key.get_secret_value(), webhook.id, 1)
    for call in receiver.calls:
        assert is_signed(call, secret)
    events = [call.json for call in receiver.calls]
    counts = Counter(one["id"] for one in events)
    owed = rows(session, "webhook_id = :id", id=webhook.id)
    assert {row.state for row in owed} == {"sent"}
    assert counts.keys() == {str(row.event_id) for row in owed}
    assert len(owed) == CHANGES + LATE + 1  # and that the other one was disabled
    doubtful = {str(row.event_id) for row in owed if row.id in in_doubt(session)}
    assert {event for event, count in counts.items() if count > 1} <= doubtful
    lives = (["failed"], [one.value for one in A_LIFE])
    repeated = {row.delivery_id for row in owed if row.id in in_doubt(session)}  # these may come late
    for delivery, statuses in by_delivery(events).items():
        assert statuses in lives or (delivery in repeated and set(statuses) == set(lives[1])), delivery


def by_delivery(events: list[Any]) -> dict[int, list[str]]:
    """Return each delivery's statuses in the order of arrival, without repetitions."""
    found: dict[int, list[str]] = {}
    for one in events:
        if one["type"] == "status_changed":
            statuses = found.setdefault(one["data"]["delivery"]["id"], [])
            if one["data"]["status"] not in statuses:
                statuses.append(one["data"]["status"])
    return found


def assert_mails(session: Session, mailbox: SmtpInbox) -> None:
    """Each customer and the manager got each e-mail once; again only if in doubt, and with the same id."""
    owed = rows(session, "webhook_id IS NULL")
    assert {row.state for row in owed} == {"sent"}
    assert Counter(row.event for row in owed) == {
        "status_changed": CHANGES,
        "late": LATE,
        "webhook_disabled": 1,
    }
    counts = Counter(message["Message-ID"] for message in mailbox.messages)
    named = {f"<{row.id}.{row.event_id.hex}@example.org>": row.id for row in owed}
    assert counts.keys() == named.keys()
    doubtful = in_doubt(session)
    assert all(named[message_id] in doubtful for message_id, count in counts.items() if count > 1)


def assert_given_up(session: Session, firm: Firm, bad: HttpReceiver, mailbox: SmtpInbox) -> None:
    """Nothing owed to the bad endpoint is lost from sight, and the manager knows why."""
    owed = rows(session, "webhook_id = :id", id=firm.bad.id)
    assert len(owed) == CHANGES + LATE + 1
    assert {row.state for row in owed} == {"expired"}
    assert all(row.error for row in owed)
    assert len(bad.calls) <= FAILURES_ALLOWED + 1  # one more if the killed process had begun it
    tried = session.scalar(
        text(
            "SELECT count(*) FROM notification_attempt a JOIN notification n ON n.id = notification_id"
            " WHERE webhook_id = :id AND a.error IS NOT NULL"
        ),
        {"id": firm.bad.id},
    )
    assert tried == len(bad.calls)
    (warning,) = [one for one in mailbox.messages if one["X-Milepost-Event"] == "webhook_disabled"]
    assert warning["To"] == firm.manager.email


def is_signed(call: Call, secret: str) -> bool:
    parts = dict(part.split("=", 1) for part in call.headers["milepost-signature"].split(","))
    signed = f"{parts['t']}.".encode() + call.body
    return hmac.compare_digest(parts["v1"], hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest())


def rows(session: Session, where: str, **values: Any) -> list[Any]:
    session.rollback()
    return list(session.execute(text(f"SELECT * FROM notification WHERE {where}"), values))


def states(session: Session) -> Counter[str]:
    return Counter(row.state for row in rows(session, "true"))


def in_doubt(session: Session) -> set[int]:
    """Whose sender was killed before it knew the answer."""
    query = "SELECT notification_id FROM notification_attempt WHERE finished_at IS NULL"
    return set(session.scalars(text(query)))


def waiting_mail(session: Session) -> str | None:
    found = rows(session, "state = 'queued' AND webhook_id IS NULL AND error IS NOT NULL LIMIT 1")
    return found[0].error if found else None


def is_mail_left(session: Session) -> bool:
    return bool(rows(session, "state = 'queued' AND webhook_id IS NULL LIMIT 1"))


def is_disabled(session: Session, webhook: Webhook) -> bool:
    session.rollback()
    return session.get_one(Webhook, webhook.id, populate_existing=True).disabled_at is not None


def wait_until(
    condition: Callable[[], Any],
    what: str,
    between: Callable[[Session], None] | None = None,
    session: Session | None = None,
) -> None:
    """``between`` each look and the next, time passes."""

    def look() -> Any:
        if between is not None and session is not None:
            between(session)
        return condition()

    wait_within(look, 90.0, what, poll=0.2 if between else 0.05)
