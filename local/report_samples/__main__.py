"""Sample reports of a made-up round through Berlin: `python -m local.report_samples docs/reports`.

Needs no database. With pdftoppm it also renders each PDF's first page, with Chromium a phone's screen.
"""

import argparse
import shutil
import subprocess
from pathlib import Path

import anyio
from PIL import Image

from local.report_samples.day import busy_day
from local.report_samples.deliveries import failed_delivery, for_customer, late_delivery
from reports import rendering
from reports.pages import daily_page, delivery_page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        html = folder / f"{name}.html"
        html.write_text(page, encoding="utf-8")
        html.with_suffix(".pdf").write_bytes(anyio.run(rendering.pdf_of, page))
        _take_pictures(html)


def _take_pictures(html: Path) -> None:
    """Render the first page on paper, and the page on a phone's screen."""
    paper, phone = html.with_suffix(""), html.with_name(f"{html.stem}-on-a-phone.png")
    if tool := shutil.which("pdftoppm"):
        subprocess.run([tool, "-r", "90", "-png", "-singlefile", html.with_suffix(".pdf"), paper], check=True)
        _make_small(paper.with_suffix(".png"))
    if (tool := shutil.which("chromium")) and "customer" in html.stem:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        shown = (f"--screenshot={phone}", "--window-size=500,1100", html.resolve().as_uri())
        subprocess.run([tool, *options, *shown], check=True, capture_output=True)
        _make_small(phone)


def _make_small(picture: Path) -> None:
    with Image.open(picture) as image:
        image.convert("RGB").quantize(48).save(picture, optimize=True)


def pages() -> dict[str, str]:
    """Return the pages by file name without extension."""
    return {
        "delivery-late": delivery_page.html(late_delivery()),
        "delivery-for-customer": delivery_page.html(for_customer(late_delivery())),
        "delivery-failed": delivery_page.html(failed_delivery()),
        "day": daily_page.html(busy_day()),
    }


if __name__ == "__main__":
    main()
