"""Pictures embedded in a page: small enough for paper, as ``data:`` URLs."""

import base64
import io
import logging

from PIL import Image, UnidentifiedImageError

LONGEST_EDGE = 900  # pixels: on paper 8 cm at 280 dpi
QUALITY = 80
log = logging.getLogger(__name__)


def data_url(content: bytes) -> str | None:
    """Return the picture, re-encoded and smaller; None for an invalid one, which must not fail the page."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            name = image.format or "PNG"
            image.draft("RGB", (LONGEST_EDGE, LONGEST_EDGE))
            image.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
            written = io.BytesIO()
            image.save(written, name, quality=QUALITY, optimize=True)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        log.warning("picture_left_out error=%s", type(error).__name__)
        return None
    return f"data:image/{name.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"
