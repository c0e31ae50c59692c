"""Self-contained pages: one template for the screen, for paper and for the PDF, with everything inline.

The template engine escapes all user input. A page needs no network, no script and no file.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent.parent / "templates"


def render(template: str, values: dict[str, Any]) -> str:
    return _environment().get_template(template).render(values, style=Markup(_style()))  # noqa: S704  # ours


def content_security_policy() -> str:
    """Return a policy that allows only our own style and pictures embedded in the page."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; sandbox"
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    return "\n" + (FOLDER / "report.css").read_text(encoding="utf-8")
