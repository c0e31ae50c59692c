"""Reports that clients request: few are rendered at once, some wait, the rest are refused with a 503."""

import logging
from collections.abc import Callable

from anyio import CapacityLimiter
from starlette.concurrency import run_in_threadpool

from api.content.admission import Admission, Holder
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


class Turns:
    """Run ``at_once`` and queue ``waiting`` more, of both at most ``per_company`` per tenant."""

    def __init__(self, at_once: int, waiting: int, per_company: int) -> None:
        self.admission = Admission(RenderingsBusy, slots=at_once + waiting, per_company=per_company)
        self._at_once = at_once
        self._limiter: CapacityLimiter | None = None

    @property
    def limiter(self) -> CapacityLimiter:
        """Return the limiter; it is created lazily because it belongs to the running event loop."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._at_once)
        return self._limiter


class Renderings:
    """The reports being rendered in this process. Used from the event loop only."""

    def __init__(self) -> None:
        self.texts = Turns(READERS, READERS_WAITING, READERS_OF_COMPANY)
        self.pdfs = Turns(PROCESSES, MAXIMUM_WAITING, PROCESSES_OF_COMPANY)

    async def text(self, holder: Holder, write: Callable[[], str]) -> str:
        """Return the text that ``write`` returns, called in a thread. Raises `RenderingsBusy`."""
        with self.texts.admission.slot(holder):
            async with self.texts.limiter:
                return await run_in_threadpool(write)

    async def pdf(self, holder: Holder, write: Callable[[], str]) -> bytes:
        """Render the HTML that ``write`` returns as PDF. Raises `RenderingsBusy`, `CannotRender`."""
        with self.pdfs.admission.slot(holder):
            html = await self.text(holder, write)
            try:
                return await rendering.pdf_of(html, self.pdfs.limiter)
            except PdfNotMade as error:
                log.warning("pdf_not_made characters=%d reason=%r", len(html), error.reason)
                raise CannotRender(error.reason) from None
