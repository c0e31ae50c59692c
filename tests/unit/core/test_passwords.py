"""Passwords: right, wrong, of no user, outdated."""

import pytest
from argon2 import PasswordHasher

from core.accounts import passwords
from core.errors import InvalidValue

HASH = passwords.hash_password("correct horse")


def test_only_the_right_password_is_right() -> None:
    assert passwords.is_right(HASH, "correct horse")
    for wrong in ("", "Correct horse", "correct horse ", "\ud800", "x" * 10_000):
        assert not passwords.is_right(HASH, wrong)


def test_an_unknown_users_password_is_wrong_and_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = PasswordHasher.verify

    def counting(hasher: PasswordHasher, password_hash: str, password: bytes) -> bool:
        verified.append(password_hash)
        return verify(hasher, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    assert not passwords.is_right(None, "nobody's password")
    [of_no_user] = verified
    assert not passwords.needs_rehash(of_no_user)


def test_broken_hash_is_a_wrong_password() -> None:
    assert not passwords.is_right("not a hash", "correct horse")


def test_hash_of_other_costs_is_outdated() -> None:
    assert not passwords.needs_rehash(HASH)
    assert passwords.needs_rehash(PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x"))


@pytest.mark.parametrize("password", ["short", "x" * 201])
def test_length_is_limited(password: str) -> None:
    with pytest.raises(InvalidValue):
        passwords.require_usable(password)
