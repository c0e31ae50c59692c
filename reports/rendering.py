"""PDFs rendered in a process of their own, which is killed on a time-out or when its caller has left."""

import logging

import anyio
from anyio import CapacityLimiter, to_process

from reports import pdf

TIMEOUT_S = 45.0
log = logging.getLogger(__name__)


class PdfNotMade(Exception):
    """``reason`` is a sentence that contains nothing from the page."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def pdf_of(html: str, limiter: CapacityLimiter | None = None) -> bytes:
    """Return the page as PDF; ``limiter`` bounds the concurrent renderings. Raises `PdfNotMade`."""
    async with limiter or CapacityLimiter(1):
        try:
            with anyio.fail_after(TIMEOUT_S):
                return await to_process.run_sync(pdf.make, html, cancellable=True)
        except TimeoutError:
            raise PdfNotMade("It takes too long.") from None
        except (MemoryError, anyio.BrokenWorkerProcess):
            raise PdfNotMade("It takes too much memory.") from None
        except pdf.CannotMakePdf as error:
            raise PdfNotMade(f"A library for it is missing on the server: {error}.") from None
        except Exception as error:  # a layout engine may fail with any exception
            log.error("page_not_laid_out characters=%d error=%s", len(html), type(error).__name__)
            raise PdfNotMade("The page could not be laid out.") from None
