"""PDFs, made in processes of their own: few at a time, each bounded in time and memory.

A rendering that takes too long is killed with its process, and so is one whose reader has left.
"""

import logging

import anyio
from anyio import CapacityLimiter, to_process

from core.errors import DomainError
from reports import pdf

PROCESSES = 2
MAXIMUM_WAITING = 8
TIMEOUT_S = 45.0
log = logging.getLogger(__name__)


class RenderingsBusy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__("Too many PDFs are being made; ask again in some seconds.", retry_after_s=10)


class CannotRender(DomainError):
    """Too long for a PDF, or this machine lacks what makes one; the page itself can still be had."""

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
        self._asked += 1
        try:
            return await self._made(html)
        finally:
            self._asked -= 1

    async def _made(self, html: str) -> bytes:
        if self._limiter is None:  # belongs to the event loop that is running
            self._limiter = CapacityLimiter(PROCESSES)
        async with self._limiter:
            try:
                with anyio.fail_after(TIMEOUT_S):
                    return await to_process.run_sync(pdf.make, html, cancellable=True)
            except TimeoutError:
                log.warning("pdf_timed_out characters=%d", len(html))
                raise CannotRender("It takes too long.") from None
            except (MemoryError, anyio.BrokenWorkerProcess):
                log.warning("pdf_out_of_memory characters=%d", len(html))
                raise CannotRender("It takes too much memory.") from None
            except pdf.CannotMakePdf as error:
                log.error("pdf_libraries_missing error=%s", error)
                raise CannotRender("A library for it is missing on the server.") from None
