"""The sender: every notification is taken once, or can be seen to have failed. Against real receivers."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.accounts import links
from core.database.locks import Lock
from core.deliveries.status_changes import StatusRequest, change_status
from core.models.company import Company
from core.models.job import JobsLeader
from core.models.notification import NotificationTemplate
from core.nightly.job_states import JobFailed
from core.notifications import housekeeping, queue
from core.notifications.attempts import NO_SERVER
from core.notifications.webhooks import endpoints
from core.request_ids import carried_on
from core.rules.enums import Status
from core.settings import Settings
from jobs.sender import loop
from jobs.sender.mail import mailer
from jobs.sender.mail.messages import BAD_ADDRESS
from jobs.sender.webhooks import calls
from jobs.sender.webhooks.caller import Caller, signature
from local.services.ports import free_port
from tests.support import factories
from tests.support.log_lines import json_lines
from tests.support.notifications import events
from tests.support.servers.receivers import SmtpInbox, http_receiver, smtp_server, status
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until as wait_within

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def company(session: Session) -> Company:
    company = factories.company(session, name="Acme\r\nBcc: x@example.com", time_zone="Europe/Berlin")
    session.commit()
    return company


@pytest.fixture
def plain(database_url: str) -> Settings:
    """Without an SMTP server."""
    return make_settings(database_url)


@pytest.fixture
def mailbox() -> Iterator[tuple[SmtpInbox, int]]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def settings(database_url: str, mailbox: tuple[SmtpInbox, int]) -> Settings:
    return mailing(database_url, mailbox[1])


def mailing(database_url: str, port: int, **more: Any) -> Settings:
    smtp: dict[str, Any] = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_tls": "none",
        "smtp_from": "M <mp@example.org>",
    }
    return make_settings(database_url, **smtp | {"public_url": "https://track.example.org"} | more)


@contextmanager
def sending(sessions: sessionmaker[Session], settings: Settings, total_s: float = 5.0) -> Iterator[None]:
    with loop.running(sessions, settings, Caller(LOOPBACK, total_s=total_s)):
        yield


def wait_until(condition: Callable[[], Any], what: str) -> None:
    wait_within(condition, 20.0, what)


def rows(session: Session) -> list[Any]:
    session.rollback()
    return list(session.execute(text("SELECT * FROM notification ORDER BY id")))


def attempts(session: Session) -> list[Any]:
    session.rollback()
    return list(session.execute(text("SELECT * FROM notification_attempt ORDER BY notification_id, number")))


def states(session: Session) -> list[str]:
    return [row.state for row in rows(session)]


def all_are(session: Session, *wanted: str) -> None:
    wait_until(lambda: states(session) == list(wanted), f"all are {wanted}")


def due_again(session: Session) -> None:
    """As if the back-off were over."""
    session.execute(text("UPDATE notification SET next_attempt_at = now() WHERE state = 'queued'"))
    session.execute(text("UPDATE webhook SET retry_at = NULL"))
    session.commit()


def test_an_email_is_written_by_the_companys_template_and_sent_once(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    words = {
        "subject": "Now {{ status }}",
        "text": "At {{ occurred_at | time }}",
        "html": "<b>{{ status }}</b>",
    }
    session.add(
        NotificationTemplate(
            company_id=company.id,
            event="status_changed",
            audience="customer",
            updated_at=datetime.now(UTC),
            **words,
        )
    )
    payload = {"status": "a\r\nBcc: y@example.com <", "occurred_at": "2026-03-01T12:00:00Z"}
    row = factories.notification(session, company, recipient="clara@example.com", payload=payload)
    session.commit()
    with sending(sessions, settings):
        all_are(session, "sent")
    (message,) = mailbox[0].messages
    assert mailbox[0].recipients == ["clara@example.com"]
    assert message["Subject"] == "Now a Bcc: y@example.com <"
    assert message["From"] == '"Acme Bcc: x@example.com" <mp@example.org>'
    assert message["Bcc"] is None
    assert message["Message-ID"] == f"<{row.id}.{row.event_id.hex}@example.org>"
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().strip() == "At 13:00"
    assert "y@example.com &lt;</b>" in html.get_content()
    (made,) = attempts(session)
    assert (made.number, made.code, made.error) == (1, 250, None)
    assert made.finished_at is not None


def test_a_refused_recipient_fails_and_a_busy_server_is_tried_again(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    gone = factories.notification(session, company, recipient="gone@example.com")
    later = factories.notification(session, company, recipient="later@example.com")
    odd = factories.notification(session, company, recipient="a@b.example>")
    session.commit()
    replies = {"gone@example.com": "550 <gone@example.com> unknown", "later@example.com": "450 busy"}
    mailbox[0].on_rcpt = lambda address: replies.get(address, "250 OK")
    with sending(sessions, settings):
        wait_until(lambda: len([a for a in attempts(session) if a.finished_at]) == 3, "three attempts")
        found = {row.id: (row.state, row.error) for row in rows(session)}
        assert found == {
            gone.id: ("failed", "550 <…> unknown"),
            later.id: ("queued", "450 busy"),
            odd.id: ("failed", BAD_ADDRESS),
        }
        again = next(row for row in rows(session) if row.id == later.id)
        assert timedelta(seconds=10) < again.next_attempt_at - datetime.now(UTC) < timedelta(seconds=31)
        replies.clear()
        due_again(session)
        all_are(session, "failed", "sent", "failed")
    assert [a.number for a in attempts(session) if a.notification_id == later.id] == [1, 2]
    assert mailbox[0].recipients == ["later@example.com"]


def test_one_that_cannot_be_written_delays_no_other(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    words = {"subject": "{% loop %}", "text": "of another version", "updated_at": datetime.now(UTC)}
    template = NotificationTemplate(company_id=company.id, event="late", audience="customer", **words)
    session.add(template)
    factories.notification(session, company, event="of_another_version")
    factories.notification(session, company, event="late")
    factories.notification(session, company)
    session.commit()
    with sending(sessions, settings):
        wait_until(lambda: len([a for a in attempts(session) if a.finished_at]) == 3, "three attempts")
        assert [(row.state, row.error) for row in rows(session)] == [
            ("queued", "the e-mail cannot be written: ValueError"),
            ("queued", "the e-mail cannot be written: TemplateSyntaxError"),
            ("sent", None),
        ]
        template.subject = "Repaired"
        session.commit()
        due_again(session)
        wait_until(lambda: states(session)[1] == "sent", "the repaired one")
    assert mailbox[0].messages[-1]["Subject"] == "Repaired"


def test_unknown_zone_of_a_tenant_stops_no_email(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    session.execute(text("UPDATE company SET time_zone = 'Mars/Olympus'"))
    delivery = {"reference": "D-1", "window_start": None, "window_end": "2026-11-27T15:12:00Z"}
    factories.notification(session, company, event="late", payload={"delivery": delivery})
    session.commit()
    with sending(sessions, settings):
        all_are(session, "sent")
    (message,) = mailbox[0].messages
    assert "Agreed: by 2026-11-27 15:12 (UTC+00:00)" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_server_name_that_is_none_is_waited_for(
    session: Session,
    sessions: sessionmaker[Session],
    database_url: str,
    company: Company,
    caplog: pytest.LogCaptureFixture,
) -> None:
    factories.notification(session, company)
    session.commit()
    with sending(sessions, mailing(database_url, 25, smtp_host="mail..example.com")):
        wait_until(lambda: rows(session)[0].error, "the reason")
    assert rows(session)[0].error == "e-mails cannot be sent: UnicodeError"
    assert caplog.text.count("sender_worker_failed") < 5


def test_without_a_server_emails_wait_say_why_and_expire(
    session: Session, sessions: sessionmaker[Session], plain: Settings, company: Company
) -> None:
    factories.notification(session, company)
    session.commit()
    with sending(sessions, plain):
        wait_until(lambda: rows(session)[0].error == NO_SERVER, "the reason")
    assert states(session) == ["queued"]
    assert housekeeping.expire_old(session, datetime.now(UTC)) == 0
    assert housekeeping.expire_old(session, datetime.now(UTC) + timedelta(days=2)) == 1
    session.commit()
    (row,) = rows(session)
    assert (row.state, attempts(session)) == ("expired", [])
    assert row.error == f"not sent within 1 day: {NO_SERVER}"


def test_an_arrival_is_not_announced_after_it(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    """Its mail server was away."""
    now = datetime.now(UTC)
    clara = factories.customer(session, company, email="clara@example.com")
    for sent_at, reference in ((now - timedelta(minutes=10), "past"), (now, "near")):
        delivery = factories.delivery(
            session, company, Status.IN_TRANSIT, customer_id=clara.id, reference=reference
        )
        soon = events.soon(delivery, sent_at + timedelta(minutes=4))
        queue.queue(session, company.id, soon, sent_at, delivery=delivery)
    session.commit()
    with sending(sessions, settings):
        all_are(session, "queued", "sent")
    (message,) = mailbox[0].messages
    assert message["Subject"] == "Your delivery near arrives in about 4 minutes", "as it is when it is sent"
    assert housekeeping.expire_old(session, datetime.now(UTC)) == 1
    session.commit()
    assert rows(session)[0].error == "not sent before the announced arrival, or within 15 minutes"


def test_what_a_delivery_foretold_is_not_sent_after_its_end(session: Session, company: Company) -> None:
    now = datetime.now(UTC)
    clara = factories.customer(session, company, email="clara@example.com")
    ours = [factories.delivery(session, company, Status.IN_TRANSIT, customer_id=clara.id) for _ in "ab"]
    hook = factories.webhook(session, company, "arriving_soon")
    for delivery in ours:
        soon = events.soon(delivery, now + timedelta(minutes=9))
        queue.queue(session, company.id, soon, now, delivery=delivery)
    actor = factories.actor(company, factories.user(session, company))
    change_status(session, actor, ours[0].id, StatusRequest(status=Status.DELIVERED), now)
    session.commit()
    found = {(row.delivery_id, row.event, row.webhook_id): (row.state, row.error) for row in rows(session)}
    assert found == {
        (ours[0].id, "arriving_soon", None): ("expired", "not sent before its delivery ended"),
        (ours[0].id, "arriving_soon", hook.id): ("queued", None),
        (ours[0].id, "status_changed", None): ("queued", None),
        (ours[1].id, "arriving_soon", None): ("queued", None),
        (ours[1].id, "arriving_soon", hook.id): ("queued", None),
    }


def test_without_a_server_the_log_says_so_once(
    session: Session,
    sessions: sessionmaker[Session],
    plain: Settings,
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(loop, "EXPLAIN_EVERY_S", 0.0)
    with sending(sessions, plain):
        for _ in range(3):
            row = factories.notification(session, company)
            links.owe_reset(session, company.id, factories.user(session, company).id, row.created_at)
            session.commit()
            wait_until(lambda: all(one.error == NO_SERVER for one in rows(session)), "the reason")
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(record.getMessage().split()[0] for record in logged) == [
        "alert=emails_wait",
        "alert=password_links_wait",
    ]
    assert {record.levelno for record in logged} == {logging.WARNING}


def test_a_server_that_is_away_is_logged_once_and_its_return(
    session: Session,
    sessions: sessionmaker[Session],
    database_url: str,
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(mailer, "FIRST_PAUSE_S", 0.1)
    caplog.set_level(logging.DEBUG, logger="jobs.sender.mail.mailer")
    factories.notification(session, company)
    session.commit()
    port = free_port()
    with sending(sessions, mailing(database_url, port)):
        wait_until(lambda: caplog.text.count("smtp_paused") >= 3, "three tries")
        with smtp_server(port):
            all_are(session, "sent")
            wait_until(lambda: "smtp_away is_over" in caplog.text, "its return")
    assert caplog.text.count("smtp_away reason") == 1


def test_a_leader_that_has_just_begun_is_not_judged(session: Session, company: Company) -> None:
    now = datetime.now(UTC)
    factories.notification(session, company, next_attempt_at=now - timedelta(hours=1))
    session.execute(text("SELECT pg_advisory_lock(:key)"), {"key": Lock.LEADER})
    led = JobsLeader(id=1, term=1, holder="here:1", since=now - timedelta(minutes=4), renewed_at=now)
    session.add(led)
    session.flush()
    assert housekeeping.check_overdue(session, now) is None
    led.since = now - timedelta(minutes=6)
    session.flush()
    with pytest.raises(JobFailed, match="none was tried"):
        housekeeping.check_overdue(session, now)


def test_what_does_not_leave_is_a_failed_job(session: Session, company: Company) -> None:
    now = datetime.now(UTC)
    waiting = factories.webhook(session, company, retry_at=now + timedelta(hours=1))
    slow = factories.webhook(session, company, last_success_at=now + timedelta(minutes=3))
    removed = factories.webhook(session, company, deleted_at=now, url="")
    for hook in (waiting, slow, removed):
        factories.notification(session, company, webhook_id=hook.id)
    row = factories.notification(session, company, error=NO_SERVER)
    session.flush()
    in_time, later = row.next_attempt_at + timedelta(minutes=5), row.next_attempt_at + timedelta(minutes=6)
    assert housekeeping.check_overdue(session, in_time) is None
    assert housekeeping.check_overdue(session, later) == f"1 e-mails wait: {NO_SERVER}"
    row.error = "451 busy"
    session.flush()
    with pytest.raises(JobFailed, match=r"^1 notifications are due for 0:05:00; the reason: 451 busy$"):
        housekeeping.check_overdue(session, later)


def test_a_dead_server_is_waited_for(
    session: Session, sessions: sessionmaker[Session], database_url: str, company: Company
) -> None:
    factories.notification(session, company)
    session.commit()
    port = free_port()
    with sending(sessions, mailing(database_url, port)):
        wait_until(lambda: "cannot be used" in (rows(session)[0].error or ""), "the reason")
        assert attempts(session) == []
        with smtp_server(port) as (mailbox, _):
            all_are(session, "sent")
    assert len(mailbox.messages) == 1


def test_companies_are_served_in_rotation(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    for number in range(20):
        factories.notification(session, company, recipient=f"many{number}@example.com")
    other = factories.company(session)
    late = datetime.now(UTC) + timedelta(milliseconds=1)
    factories.notification(session, other, recipient="few@example.com", next_attempt_at=late)
    session.commit()
    with sending(sessions, settings):
        wait_until(lambda: len(mailbox[0].recipients) == 21, "all of them")
    assert "few@example.com" in mailbox[0].recipients[:6]


def test_an_owed_reset_is_sent_and_owed_again_when_it_cannot(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    user = factories.user(session, company)
    links.owe_reset(session, company.id, user.id, datetime.now(UTC))
    session.commit()
    mailbox[0].on_data = lambda: "451 later"
    link = "SELECT token_hash, send_at, send_error FROM user_link"

    def owed() -> Any:
        session.rollback()
        return session.execute(text(link)).one()

    with sending(sessions, settings):
        wait_until(lambda: owed().send_error, "a failure")
        assert (owed().token_hash, owed().send_error) == (None, "451 later")
        mailbox[0].on_data = lambda: "250 OK"
        session.execute(text("UPDATE user_link SET send_at = now()"))
        session.commit()
        wait_until(lambda: owed().send_at is None, "the mail")
    (message,) = mailbox[0].messages
    body = message.get_body(("plain",))
    assert body is not None
    before, _, rest = body.get_content().partition("https://track.example.org/set-password#token=")
    assert user.email in before
    assert links.user_of(session, rest.split()[0], datetime.now(UTC)) == user.id


def test_a_link_taken_by_a_sender_that_died_is_owed_again(session: Session, company: Company) -> None:
    user, now = factories.user(session, company), datetime.now(UTC)
    links.owe_reset(session, company.id, user.id, now)
    session.flush()
    (lost,) = links.take_owed(session, now)
    assert links.take_owed(session, now) == []
    (again,) = links.take_owed(session, now + links.SEND_LEASE)
    links.not_sent(session, lost, "too late to matter", None)
    links.sent(session, again)
    assert links.user_of(session, lost.link.token, now) is None
    assert links.user_of(session, again.link.token, now) == user.id
    assert links.take_owed(session, now + timedelta(hours=1)) == []


def test_calls_of_one_endpoint_come_in_order_signed_and_once(
    session: Session, sessions: sessionmaker[Session], plain: Settings, company: Company
) -> None:
    with http_receiver() as receiver:
        hook = factories.webhook(session, company, url=receiver.url())
        for _ in range(5):
            factories.notification(session, company, webhook_id=hook.id)
        session.commit()
        with sending(sessions, plain):
            all_are(session, *["sent"] * 5)
    sequences = [call.json["sequence"] for call in receiver.calls]
    assert sequences == [row.id for row in rows(session)]
    call = receiver.calls[0]
    at = int(call.headers["milepost-signature"].split(",")[0].removeprefix("t="))
    key = endpoints.secret(plain.mqtt_key.get_secret_value(), hook.id, 1)
    assert call.headers["milepost-signature"] == signature([key], at, call.body)
    assert abs(at - time.time()) < 60


def test_a_hanging_endpoint_delays_no_other(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    with http_receiver() as hanging, http_receiver() as good:
        hanging.answer = lambda _: "hang"
        stuck = factories.webhook(session, company, url=hanging.url())
        fine = factories.webhook(session, company, url=good.url())
        for _ in range(30):
            factories.notification(session, company, webhook_id=stuck.id)
        for _ in range(3):
            factories.notification(session, company, webhook_id=fine.id)
        factories.notification(session, company)
        session.commit()
        with sending(sessions, settings, total_s=60):
            wait_until(lambda: states(session).count("sent") == 4, "the others")
            assert (len(hanging.calls), len(mailbox[0].messages)) == (1, 1)
    assert states(session).count("queued") == 30


def test_one_companys_slow_endpoints_delay_no_other_company(
    session: Session, sessions: sessionmaker[Session], plain: Settings, company: Company
) -> None:
    other = factories.company(session)
    with http_receiver() as hanging, http_receiver() as good:
        hanging.answer = lambda _: "hang"
        for _ in range(20):
            slow = factories.webhook(session, company, url=hanging.url())
            factories.notification(session, company, webhook_id=slow.id)
        fine = factories.webhook(session, other, url=good.url())
        factories.notification(session, other, webhook_id=fine.id)
        session.commit()
        with sending(sessions, plain, total_s=60):
            wait_until(lambda: len(hanging.calls) == loop.ENDPOINTS_OF_A_COMPANY, "the slow ones")
            wait_until(lambda: states(session)[-1] == "sent", "the other company's")
            assert len(hanging.calls) == loop.ENDPOINTS_OF_A_COMPANY


def test_endpoints_are_served_in_rotation(
    session: Session,
    sessions: sessionmaker[Session],
    plain: Settings,
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "TIME_SLICE_S", 0.0)
    monkeypatch.setattr(loop, "ENDPOINTS_AT_ONCE", 1)
    with http_receiver() as receiver:
        for path in ("/a", "/b"):
            hook = factories.webhook(session, company, url=receiver.url(path))
            for _ in range(3):
                factories.notification(session, company, webhook_id=hook.id)
        session.commit()
        with sending(sessions, plain):
            all_are(session, *["sent"] * 6)
    assert [call.path for call in receiver.calls] == ["/a", "/b"] * 3


def test_what_fails_is_tried_again_until_it_is_taken(
    session: Session, sessions: sessionmaker[Session], plain: Settings, company: Company
) -> None:
    with http_receiver() as receiver:
        receiver.answer = lambda _: status(500)
        hook = factories.webhook(session, company, url=receiver.url())
        factories.notification(session, company, webhook_id=hook.id)
        session.commit()
        with sending(sessions, plain):
            wait_until(lambda: [a.error for a in attempts(session)] == ["HTTP status 500"], "a failure")
            session.refresh(hook)
            assert (hook.failures, hook.last_error) == (1, "HTTP status 500")
            assert hook.retry_at is not None
            receiver.answer = lambda _: status(200)
            due_again(session)
            all_are(session, "sent")
    healthy = "SELECT failures, last_error, retry_at FROM webhook"
    assert tuple(session.execute(text(healthy)).one()) == (0, None, None)
    assert [(a.number, a.code) for a in attempts(session)] == [(1, 500), (2, 200)]
    assert len({call.json["id"] for call in receiver.calls}) == 1


def test_failures_are_logged_with_the_request_that_caused_them(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    mailbox[0].on_rcpt = lambda _address: "550 unknown"
    with http_receiver() as receiver:
        receiver.answer = lambda _: status(500)
        hook = factories.webhook(session, company, url=receiver.url())
        factories.notification(session, company, webhook_id=hook.id, request_id="call-1")
        factories.notification(session, company, request_id="call-2")
        with carried_on("call-3"):
            links.owe_reset(session, company.id, factories.user(session, company).id, datetime.now(UTC))
        factories.notification(session, company)
        session.commit()
        with json_lines("jobs.sender") as lines, sending(sessions, settings):
            wait_until(
                lambda: len([one for one in lines() if "attempt" in one.get("fields", {})]) == 4, "all"
            )
    found = {(*one["fields"], one.get("request_id")) for one in lines() if "attempt" in one.get("fields", {})}
    assert found == {
        ("webhook", "notification", "attempt", "error", "call-1"),
        ("notification", "attempt", "error", "call-2"),
        ("link", "attempt", "error", "call-3"),
        ("notification", "attempt", "error", None),
    }


def test_after_many_failures_an_endpoint_is_disabled_with_an_alert(
    session: Session,
    sessions: sessionmaker[Session],
    plain: Settings,
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "EXPLAIN_EVERY_S", 0.1)
    manager = factories.user(session, company)
    with http_receiver() as receiver:
        receiver.answer = lambda _: status(302, "Location: http://127.0.0.1:1/")
        hook = factories.webhook(session, company, url=receiver.url(), failures=19)
        for _ in range(2):
            factories.notification(session, company, webhook_id=hook.id)
        session.commit()
        with sending(sessions, plain):
            wait_until(lambda: len(rows(session)) == 3, "the alert")
            due_again(session)
            wait_until(lambda: rows(session)[2].error == NO_SERVER, "another round")
    session.refresh(hook)
    assert (hook.failures, hook.disabled_because) == (20, "failures")
    alert = rows(session)[2]
    assert (alert.event, alert.recipient) == ("webhook_disabled", manager.email)
    # Other endpoints and mail servers see it: not the path, which may hold a token.
    assert alert.payload["webhook"] == {"id": hook.id, "url": receiver.url("/…")}
    assert alert.payload["error"] == "HTTP status 302: redirects are not followed"
    entry = "SELECT action, actor_kind FROM audit_entry WHERE subject_kind = 'webhook'"
    assert session.execute(text(entry)).all() == [("webhook.disabled", "system")]
    assert len(receiver.calls) == 1
    with http_receiver() as repaired:
        endpoints.enable(session, factories.actor(company, manager), hook.id)
        hook.url = repaired.url()
        session.commit()
        with sending(sessions, plain):
            wait_until(lambda: states(session)[:2] == ["sent", "sent"], "what waited")


def test_two_senders_at_once_send_once(
    session: Session,
    sessions: sessionmaker[Session],
    settings: Settings,
    mailbox: tuple[SmtpInbox, int],
    company: Company,
) -> None:
    with http_receiver() as receiver:
        hooks = [factories.webhook(session, company, url=receiver.url(f"/{n}")) for n in range(3)]
        for number in range(30):
            if number % 2:
                factories.notification(session, company)
            else:
                factories.notification(session, company, webhook_id=hooks[number % 3].id)
        session.commit()
        with sending(sessions, settings), sending(sessions, settings):
            all_are(session, *["sent"] * 30)
    assert len(mailbox[0].messages) == 15
    assert len({call.json["sequence"] for call in receiver.calls}) == len(receiver.calls) == 15
    assert len(attempts(session)) == 30


def is_listened_to(session: Session) -> bool:
    session.rollback()
    listening = "query = 'LISTEN milepost_notifications' AND datname = current_database() AND state = 'idle'"
    return bool(session.execute(text(f"SELECT FROM pg_stat_activity WHERE {listening}")).all())


def test_a_notification_wakes_it(
    session: Session,
    sessions: sessionmaker[Session],
    plain: Settings,
    monkeypatch: pytest.MonkeyPatch,
    company: Company,
) -> None:
    monkeypatch.setattr(loop, "POLL_S", 60.0)
    with http_receiver() as receiver:
        factories.webhook(session, company, "late", url=receiver.url())
        late = events.late(factories.delivery(session, company))
        session.commit()
        with sending(sessions, plain):
            wait_until(lambda: is_listened_to(session), "the listener")
            queue.queue(session, company.id, late, datetime.now(UTC))
            session.commit()
            all_are(session, "sent")
            monkeypatch.setattr(loop, "POLL_S", 0.01)


def test_what_the_database_refuses_is_not_tried_without_end(
    session: Session,
    sessions: sessionmaker[Session],
    plain: Settings,
    monkeypatch: pytest.MonkeyPatch,
    company: Company,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with a database that is not migrated yet."""
    monkeypatch.setattr(loop, "POLL_S", 60.0)
    with http_receiver() as receiver:
        factories.webhook(session, company, "late", url=receiver.url())
        late = events.late(factories.delivery(session, company))
        queue.queue(session, company.id, late, datetime.now(UTC))
        session.execute(text("ALTER TABLE notification_attempt RENAME TO of_later"))
        session.commit()
        with sending(sessions, plain):
            wait_until(lambda: is_listened_to(session), "the listener")
            wait_until(lambda: "sender_worker_ended" in caplog.text, "the failure")
            session.execute(text("ALTER TABLE of_later RENAME TO notification_attempt"))
            queue.queue(session, company.id, late, datetime.now(UTC))
            session.commit()
            all_are(session, "sent", "sent")
            monkeypatch.setattr(loop, "POLL_S", 0.01)
    assert caplog.text.count("sender_worker_ended") == 1


def test_it_stops_soon_while_a_receiver_hangs(
    session: Session, sessions: sessionmaker[Session], plain: Settings, company: Company
) -> None:
    with http_receiver() as receiver:
        receiver.answer = lambda _: "hang"
        hook = factories.webhook(session, company, url=receiver.url())
        factories.notification(session, company, webhook_id=hook.id)
        session.commit()
        with sending(sessions, plain, total_s=60):
            wait_until(lambda: receiver.calls, "the call")
            began = time.monotonic()
        assert time.monotonic() - began < 10
    assert states(session) == ["queued"]
