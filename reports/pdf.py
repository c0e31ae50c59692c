"""Render a page as PDF, in a process of its own that may be killed.

No URL in the page is fetched, neither over the network nor from files: only pictures embedded in the page are
read.
"""

import resource
from typing import Any

MAXIMUM_MEMORY = 2 * 1024**3  # of address space; a page of ten photos takes a quarter


class CannotMakePdf(Exception):
    """The layout libraries are not installed on this machine."""


def make(html: str) -> bytes:
    """Return the PDF. Raises `CannotMakePdf`, `MemoryError`."""
    # Needs a process of its own: the resource limits are lowered for good.
    _limit()
    weasyprint = _load()
    fetcher = weasyprint.URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    written: bytes = weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf()
    return written


def _load() -> Any:
    """Import the layout library."""
    # Imported on demand: it takes half a second and needs libraries that may be missing.
    try:
        import weasyprint  # noqa: PLC0415
    except OSError as error:
        raise CannotMakePdf(str(error).partition("\n")[0]) from None
    return weasyprint


def _limit() -> None:
    _, hardest = resource.getrlimit(resource.RLIMIT_AS)
    if hardest == resource.RLIM_INFINITY or hardest > MAXIMUM_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MAXIMUM_MEMORY, hardest))
