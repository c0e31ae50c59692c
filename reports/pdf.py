"""A page as PDF: for a process of its own, which may be killed.

Nothing is fetched, neither from the network nor from files, whatever stands in the page: only pictures that
lie in the page itself are read.
"""

import resource
from typing import Any

MAXIMUM_MEMORY = 2 * 1024**3  # of addresses; a page of ten photos takes a quarter


class CannotMakePdf(Exception):
    """The libraries that lay out text are not on this machine."""


def make(html: str) -> bytes:
    """Raises `CannotMakePdf`, `MemoryError`. For a process of its own: it lowers its limits for good."""
    _limit()
    weasyprint = _load()
    fetcher = weasyprint.URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    written: bytes = weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf()
    return written


def _load() -> Any:
    """Loaded where it is needed only: it takes half a second, and libraries that may be missing."""
    try:
        import weasyprint  # noqa: PLC0415
    except OSError as error:
        raise CannotMakePdf(str(error).partition("\n")[0]) from None
    return weasyprint


def _limit() -> None:
    _, hardest = resource.getrlimit(resource.RLIMIT_AS)
    if hardest == resource.RLIM_INFINITY or hardest > MAXIMUM_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MAXIMUM_MEMORY, hardest))
