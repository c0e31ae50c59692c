"""The documentation as a site, and the pages that are generated from the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services.settings import PROJECT

# What a browser loads by itself; links that a reader clicks may lead anywhere.
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"((?:https?:)?//[^\"]+)|<link[^>]+href=\"((?:https?:)?//[^\"]+)"
    r"|url\([\"']?((?:https?:)?//[^\"')]+)|@import [\"']?((?:https?:)?//[^\"']+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning (a broken link, a page in no index) fails the build."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-c", "docs", "-d", str(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, "-b", "html", ".", str(folder / "html")]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    return folder / "html"


def test_the_front_page_leads_to_a_page(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", (site / "index.html").read_text())
    assert "<h1>Milepost" in (site / target).read_text()


def test_pages_need_nothing_from_the_internet(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    assert {path.name: found for path in files if (found := LOADED.findall(path.read_text()))} == {}


def test_samples_are_part_of_the_site(site: Path) -> None:
    links = re.findall(r"href=\"([^\"]+)\"", (site / "docs" / "reports.html").read_text())
    (page,) = [link for link in links if link.endswith("delivery-late.html")]
    assert (site / "docs" / page).exists()


def test_the_reference_is_up_to_date() -> None:
    command = [sys.executable, "scripts/make_reference.py", "--check"]
    checked = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
