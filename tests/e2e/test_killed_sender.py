"""kill -9 to the jobs process while it sends: all is taken in the end, and what is not certain is seen."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.settings import Settings
from tests.support import factories
from tests.support.servers.receivers import http_receiver, smtp_server, status
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until


def test_nothing_is_lost_and_what_is_repeated_is_seen(
    session: Session, settings: Settings, processes: Processes
) -> None:
    company = factories.company(session)
    with smtp_server() as (mailbox, port), http_receiver() as receiver:
        ours = settings.model_copy(
            update={
                "smtp_host": "127.0.0.1",
                "smtp_port": port,
                "smtp_tls": "none",
                "smtp_from": "mp@example.org",
                "webhook_allowed_networks": "127.0.0.0/8",
            }
        )
        hook = factories.webhook(session, company, url=receiver.url())
        calls = [factories.notification(session, company, webhook_id=hook.id) for _ in range(10)]
        mails = [factories.notification(session, company) for _ in range(10)]
        session.commit()
        receiver.answer = lambda call: "hang" if call.json["sequence"] == calls[4].id else status(200)
        first = processes.start("jobs", settings=ours)
        wait_until(lambda: len(receiver.calls) == 5, 30, "the call that hangs")
        first.kill()
        receiver.answer = lambda _: status(200)
        # As if the leases were over.
        session.execute(text("UPDATE notification SET next_attempt_at = now() WHERE state = 'queued'"))
        session.commit()
        processes.start("jobs", settings=ours)
        wait_until(lambda: states(session) == {"sent"}, 30, "everything sent")
    assert {call.json["sequence"] for call in receiver.calls} == {row.id for row in calls}
    assert set(mailbox.recipients) == {row.recipient for row in mails}
    repeated = {call.json["sequence"] for call in receiver.calls[5:]} & {
        call.json["sequence"] for call in receiver.calls[:5]
    }
    assert repeated == {calls[4].id}
    seen = set(
        session.scalars(text("SELECT notification_id FROM notification_attempt WHERE finished_at IS NULL"))
    )
    assert calls[4].id in seen
    twice = {message["Message-ID"] for message in mailbox.messages}
    assert len(mailbox.messages) - len(twice) <= len(seen) - 1


def states(session: Session) -> set[Any]:
    session.rollback()
    return set(session.scalars(text("SELECT state FROM notification")))
