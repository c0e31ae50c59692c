"""PDFs for those who ask the API: few at a time, the others wait, and no more than a few of them."""

import logging

from anyio import CapacityLimiter

from core.errors import DomainError
from reports import rendering
from reports.rendering import PdfNotMade

PROCESSES = 2
MAXIMUM_WAITING = 8
log = logging.getLogger(__name__)


class RenderingsBusy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__("Too many PDFs are being made; ask again in some seconds.", retry_after_s=10)


class CannotRender(DomainError):
    """The page itself can still be had."""

    status_code = 503
    title = "The PDF cannot be made"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail} Ask for text/html instead: it prints the same.", retry_after_s=3600)


class Renderings:
    """Those under way in this process of ours. Used from the event loop only."""

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None
        self._asked = 0

    async def pdf(self, html: str) -> bytes:
        """Raises `RenderingsBusy`, `CannotRender`."""
        if self._asked >= PROCESSES + MAXIMUM_WAITING:
            raise RenderingsBusy
        if self._limiter is None:  # belongs to the event loop that is running
            self._limiter = CapacityLimiter(PROCESSES)
        self._asked += 1
        try:
            return await rendering.pdf_of(html, self._limiter)
        except PdfNotMade as error:
            log.warning("pdf_not_made characters=%d reason=%r", len(html), error.reason)
            raise CannotRender(error.reason) from None
        finally:
            self._asked -= 1
