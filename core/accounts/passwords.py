"""Passwords: argon2id hashes, checked in the same time for unknown and known e-mail addresses.

The password is hashed in NFC, because one keyboard types a letter and its accent as one character, another as
two. 0.1.0 hashed it as typed, so the other forms are tried too, each once, whether or not a user has the
e-mail address.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import InvalidValue
from core.rules.text.spelling import composed

MINIMUM_LENGTH = 8
MAXIMUM_LENGTH = 200
# A character of NFC decomposes into at most four. A longer input is never a user's password and is not
# normalised: a long run of combining marks would take minutes.
_LONGEST_TYPED = 4 * MAXIMUM_LENGTH
# OWASP's parameters for argon2id: 19 MiB per hash, so that a storm of log-ins does not exhaust the memory.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class PasswordCheck(NamedTuple):
    """``is_outdated``: right, but to be rehashed in the present form and at the present cost."""

    is_right: bool
    is_outdated: bool


def require_usable(password: str) -> None:
    """Raise `InvalidValue` unless the length is within the limits."""
    if not MINIMUM_LENGTH <= len(_forms(password)[0]) <= MAXIMUM_LENGTH:
        raise InvalidValue("password", f"must have {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters")


def hash_password(password: str) -> str:
    """Return the hash. Takes tens of milliseconds: call it outside a transaction."""
    return _HASHER.hash(_bytes(_forms(password)[0]))


def check(password_hash: str | None, password: str) -> PasswordCheck:
    """Check the password against the hash. None (unknown e-mail address) costs the same and is wrong."""
    present, *older = _forms(password)
    if _verify(password_hash, present):
        return PasswordCheck(True, password_hash is not None and needs_rehash(password_hash))
    is_right_typed = any(_verify(password_hash, form) for form in older)
    return PasswordCheck(is_right_typed, is_right_typed)


def is_right(password_hash: str | None, password: str) -> bool:
    """Return whether the password is right, whether or not its hash is outdated."""
    return check(password_hash, password).is_right


def needs_rehash(password_hash: str) -> bool:
    """Return whether the hash was made with other costs than the present ones."""
    return _HASHER.check_needs_rehash(password_hash)


def _forms(password: str) -> list[str]:
    """Return the password's forms, NFC first; an ASCII password has only one."""
    if len(password) > _LONGEST_TYPED:
        return [password]
    decomposed = unicodedata.normalize("NFD", password)
    return list(dict.fromkeys([composed(password), password, decomposed]))


def _verify(password_hash: str | None, form: str) -> bool:
    try:
        return _HASHER.verify(password_hash or _decoy_hash(), _bytes(form)) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _decoy_hash() -> str:
    return hash_password("decoy password")


def _bytes(password: str) -> bytes:
    """Encode any input, even lone surrogates, so that it fails as a wrong password and not as an error."""
    return password.encode("utf-8", "surrogatepass")
