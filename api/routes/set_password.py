"""The page that links in e-mails open.

It is self-contained; the token in the URL's fragment never leaves the browser except in the form's own
request.
"""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

PAGE = (Path(__file__).parent.parent / "web" / "set_password.html").read_text(encoding="utf-8")


def _hashes(element: str) -> str:
    """Return CSP hashes of the page's inline elements: the browser runs and applies nothing else."""
    found = re.findall(rf"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')};"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

router = APIRouter()


@router.head("/set-password", include_in_schema=False)  # scanners of links in e-mails send HEAD first
@router.get("/set-password", include_in_schema=False)
async def set_password_page() -> Response:
    """Serve the page for people; programs use `POST /auth/set-password`."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)
