"""The attachment of e-mails: the daily report as PDF.

A report that cannot be made is left out: the e-mail itself contains the figures.
"""

import logging
from datetime import date
from email.message import EmailMessage

import anyio
from sqlalchemy.orm import Session, sessionmaker

from core.notifications.claims import Claimed
from core.reporting import daily_report
from reports import rendering
from reports.pages import daily_page
from reports.rendering import PdfNotMade

log = logging.getLogger(__name__)

ReportKey = tuple[int, str]  # company and day


class DailyReports:
    """A cache of the last report: all managers of a company get the same one, one after the other.

    A failure is cached too, so that a company's e-mails wait for it only once.
    """

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._last: tuple[ReportKey, bytes | None] | None = None

    def attach(self, message: EmailMessage, claimed: Claimed) -> None:
        day = str(claimed.payload.get("day"))
        made = self._made((claimed.company_id, day))
        if made is not None:
            message.add_attachment(
                made, maintype="application", subtype="pdf", filename=f"daily-report-{day}.pdf"
            )

    def _made(self, key: ReportKey) -> bytes | None:
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        page = self._page(key)
        if page is None:
            return None
        self._last = (key, _pdf(page, key))
        return self._last[1]

    def _page(self, key: ReportKey) -> str | None:
        """Return the report's page; None once its day is past the retention period."""
        company_id, day = key
        with self._sessions() as session:
            daily = daily_report.stored(session, company_id, date.fromisoformat(day))
        return None if daily is None else daily_page.html(daily)


def _pdf(page: str, key: ReportKey) -> bytes | None:
    try:
        return anyio.run(rendering.pdf_of, page)
    except PdfNotMade as error:
        log.error("daily_report_not_attached company=%d day=%s reason=%r", *key, error.reason)
        return None
