"""The daily report by e-mail: from the night to a real SMTP server, with the PDF attached."""

import io
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage

import pytest
from pypdf import PdfReader
from sqlalchemy.orm import Session, sessionmaker

from core.models.notification import NotificationSetting
from core.nightly.nights import Night
from core.reporting import daily_report
from core.rules.enums import Status
from core.rules.times import time_zones
from jobs.sender import loop
from reports import rendering
from reports.rendering import PdfNotMade
from tests.support import factories
from tests.support.servers.receivers import smtp_server
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

DAY = date(2026, 3, 12)
STARTS_AT, ENDS_AT = time_zones.day_bounds(DAY, "UTC")


@pytest.fixture
def wished(session: Session) -> None:
    """A company with two managers that wishes it, and its night."""
    company = factories.company(session, name="Größe & Co", created_at=STARTS_AT)
    for _ in range(2):
        factories.user(session, company)
    session.add(
        NotificationSetting(company_id=company.id, event="daily_report", customer=False, managers=True)
    )
    factories.delivery(session, company, Status.DELIVERED, ended_at=STARTS_AT + timedelta(hours=9))
    night = Night(
        company_id=company.id,
        company=company.slug,
        time_zone="UTC",
        day=DAY,
        starts_at=STARTS_AT,
        ends_at=ENDS_AT,
    )
    daily_report.make(session, night, datetime.now(UTC))
    session.commit()


def sent(sessions: sessionmaker[Session], database_url: str) -> list[EmailMessage]:
    with smtp_server() as (mailbox, port):
        settings = make_settings(
            database_url,
            smtp_host="127.0.0.1",
            smtp_port=port,
            smtp_tls="none",
            smtp_from="M <mp@example.org>",
        )
        with loop.running(sessions, settings):
            wait_until(lambda: len(mailbox.messages) == 2, 40.0, "both managers to have it")
        return list(mailbox.messages)


@pytest.mark.usefixtures("wished")
def test_each_manager_gets_the_figures_and_the_pdf(
    sessions: sessionmaker[Session], database_url: str
) -> None:
    for message in sent(sessions, database_url):
        assert "Delivered: 1" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        (paper,) = message.iter_attachments()
        assert paper.get_content_type() == "application/pdf"
        assert paper.get_filename() == "daily-report-2026-03-12.pdf"
        words = PdfReader(io.BytesIO(paper.get_content())).pages[0].extract_text()
        assert "Größe & Co" in words
        assert "Thursday, 12 March 2026" in words


@pytest.mark.usefixtures("wished")
def test_the_e_mail_is_sent_without_a_pdf_that_failed(
    sessions: sessionmaker[Session], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def fail(html: str) -> bytes:
        tried.append(html)
        raise PdfNotMade("It takes too long.")

    monkeypatch.setattr(rendering, "pdf_of", fail)
    for message in sent(sessions, database_url):
        assert "Delivered: 1" in message.get_content()
        assert list(message.iter_attachments()) == []
    assert len(tried) == 1, "each manager's message waited for it"
