"""Tokens without a database: what is issued can be read, and nothing else can."""

from datetime import UTC, datetime, timedelta

import pytest

from api.auth import tokens
from core.errors import NotAuthenticated
from tests.support.services.settings import make_settings

SETTINGS = make_settings("postgresql://nobody@127.0.0.1/none")
KIND = tokens.TokenKind.ACCESS


def issue(age: timedelta = timedelta(0), kind: tokens.TokenKind = KIND) -> str:
    return tokens.issue(SETTINGS, kind, 7, 3, datetime.now(UTC) - age)


def test_issued_token_is_read_back() -> None:
    claims = tokens.read(SETTINGS, KIND, issue())
    assert (claims.user_id, claims.epoch) == (7, 3)
    left = claims.expires_at - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=SETTINGS.access_token_minutes)


def test_refresh_token_lives_longer_and_is_no_access_token() -> None:
    token = issue(timedelta(days=29), tokens.TokenKind.REFRESH)
    assert tokens.read(SETTINGS, tokens.TokenKind.REFRESH, token).user_id == 7
    with pytest.raises(NotAuthenticated):
        tokens.read(SETTINGS, KIND, token)


def test_clocks_may_differ_by_seconds_not_by_minutes() -> None:
    life = timedelta(minutes=SETTINGS.access_token_minutes)
    assert tokens.read(SETTINGS, KIND, issue(life + timedelta(seconds=2)))
    with pytest.raises(NotAuthenticated):
        tokens.read(SETTINGS, KIND, issue(life + timedelta(seconds=tokens.LEEWAY_S + 2)))
    with pytest.raises(NotAuthenticated):
        tokens.read(SETTINGS, KIND, issue(timedelta(minutes=-1)))


def test_another_installations_token_is_refused() -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(make_settings("postgresql://nobody@127.0.0.1/none"), KIND, issue())


@pytest.mark.parametrize("text", ["", ".", "a.b.c", "\ud800", "é", "x" * 3000, "W1tb" * 400 + ".e30.x"])
def test_hostile_text_is_only_refused(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(SETTINGS, KIND, text)
