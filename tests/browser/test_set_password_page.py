"""The page behind the links in e-mails, in a real browser."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.app import create_app
from core.accounts import links, passwords
from core.accounts.links import LinkKind
from core.models.people import AppUser
from tests.support import factories
from tests.support.chromium import PROGRAM, BrowserPage, chromium
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: apt-get install chromium")
GOOD = "correct horse ☂"


@pytest.fixture
def site(database_url: str) -> Iterator[str]:
    """The API on a port of its own."""
    config = uvicorn.Config(create_app(make_settings(database_url)), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, what="the API")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[BrowserPage]:
    with chromium(tmp_path) as page:
        yield page


@pytest.fixture
def user(session: Session) -> AppUser:
    user = factories.user(session, factories.company(session))
    session.commit()
    return user


def make_link(session: Session, user: AppUser) -> str:
    token = links.make(session, user, LinkKind.RESET, datetime.now(UTC)).token
    session.commit()
    return token


def answer(page: BrowserPage, password: str, again: str) -> None:
    page.type("#password", password)
    page.type("#again", again)
    page.press_enter()


def test_a_person_sets_a_password_and_the_token_goes_nowhere_else(
    page: BrowserPage, site: str, session: Session, user: AppUser
) -> None:
    token = make_link(session, user)
    page.open(f"{site}/set-password#token={token}")
    assert page.value("location.href") == f"{site}/set-password"
    shown = page.accessible()
    for seen in [
        ("heading", "Set a password"),
        ("textbox", "New password"),
        ("textbox", "The same again"),
        ("checkbox", "Show what I type"),
        ("button", "Set the password"),
    ]:
        assert seen in shown
    assert page.value("document.activeElement.id") == "password"

    answer(page, "short", "short")
    page.wait_for("Use 8 to 200 characters.")
    answer(page, GOOD, "another one")
    page.wait_for("This is not the same password.")
    assert page.value("document.activeElement.id") == "again"
    answer(page, GOOD, GOOD)
    page.wait_for("Your password is set.")
    assert page.value("document.activeElement.id") == "done"
    assert page.value("document.getElementById('password').value") == ""

    session.rollback()
    stored = session.scalar(text("SELECT password_hash FROM app_user WHERE id = :id"), {"id": user.id})
    assert passwords.is_right(stored, GOOD)
    posts = [one for one in page.requests if one["method"] == "POST"]
    assert [one["url"] for one in posts] == [f"{site}/auth/set-password"]
    assert token in posts[0]["postData"]
    others = str([one for one in page.requests if one is not posts[0]])
    assert token not in others.replace(f"'urlFragment': '#token={token}'", "")
    assert all(one["url"].startswith(site) for one in page.requests)
    assert page.value("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert page.errors == []


def test_a_link_that_was_used_says_so_and_another_one_is_taken(
    page: BrowserPage, site: str, session: Session, user: AppUser
) -> None:
    page.open(f"{site}/set-password/#token=mpl_{'x' * 43}")
    answer(page, GOOD, GOOD)
    page.wait_for("This link cannot be used (any more)")
    assert not page.value("document.getElementById('form').checkVisibility()")
    page.value(f"location.hash = 'token={make_link(session, user)}'")
    wait_until(lambda: page.value("document.getElementById('form').checkVisibility()"), what="the form")
    answer(page, GOOD, GOOD)
    page.wait_for("Your password is set.")


def test_a_link_without_its_end_says_so(page: BrowserPage, site: str) -> None:
    page.open(f"{site}/set-password")
    page.wait_for("The link is not whole.")
    assert not page.value("document.getElementById('form').checkVisibility()")


def test_nothing_but_its_own_script_runs(page: BrowserPage, site: str) -> None:
    page.open(f"{site}/set-password#token=<img src=x onerror=document.title='run'>")
    page.value(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.run = 1'}))"
    )
    assert page.value("[document.title, typeof window.run].join()") == "Set a password,undefined"
    assert any("Content Security Policy" in error for error in page.errors)
