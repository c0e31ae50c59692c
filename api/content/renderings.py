"""Reports that clients request: few are rendered at once, some wait, the rest are refused with a 503."""

import logging
from collections.abc import Callable

from anyio import CapacityLimiter
from starlette.concurrency import run_in_threadpool

from api.gate import Gate, Holder
from core.errors import DomainError
from reports import rendering
from reports.rendering import PdfNotMade

READERS = 4  # of the 16 threads that all other work shares; a report of a long trip takes seconds
READERS_WAITING = 60
READERS_OF_COMPANY = 16  # including those that wait
PROCESSES = 2
MAXIMUM_WAITING = 8
PROCESSES_OF_COMPANY = 4
log = logging.getLogger(__name__)


class RenderingsBusy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__("Too many reports are being made; ask again in some seconds.", retry_after_s=10)


class CannotRender(DomainError):
    """The PDF failed; the HTML page is still available."""

    status_code = 503
    title = "The PDF cannot be made"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail} Ask for text/html instead: it prints the same.", retry_after_s=3600)


class Renderings:
    """The reports being rendered in this process. Used from the event loop only."""

    def __init__(self) -> None:
        self.texts = Gate(RenderingsBusy, slots=READERS + READERS_WAITING, per_company=READERS_OF_COMPANY)
        self.pdfs = Gate(RenderingsBusy, slots=PROCESSES + MAXIMUM_WAITING, per_company=PROCESSES_OF_COMPANY)
        self._readers = CapacityLimiter(READERS)
        self._processes = CapacityLimiter(PROCESSES)

    async def text(self, holder: Holder, write: Callable[[], str]) -> str:
        """Return the text that ``write`` returns, called in a thread. Raises `RenderingsBusy`."""
        with self.texts.slot(holder):
            async with self._readers:
                return await run_in_threadpool(write)

    async def pdf(self, holder: Holder, write: Callable[[], str]) -> bytes:
        """Render the HTML that ``write`` returns as PDF. Raises `RenderingsBusy`, `CannotRender`."""
        with self.pdfs.slot(holder):
            html = await self.text(holder, write)
            try:
                return await rendering.pdf_of(html, self._processes)
            except PdfNotMade as error:
                log.warning("pdf_not_made characters=%d reason=%r", len(html), error.reason)
                raise CannotRender(error.reason) from None
