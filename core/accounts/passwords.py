"""People's passwords: argon2id hashes, and an answer that takes as long for a stranger as for a user.

Hashes are made of the password in NFC, for one keyboard types a letter and its mark as one character, another
as two. Those of 0.1.0 were made of it as typed: so its other forms are tried too, each once, whether or not
the e-mail is somebody's.
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
# Of NFC's characters each is at most four when decomposed. What is longer is no person's, and is not
# normalised: a long run of marks would take minutes.
_LONGEST_TYPED = 4 * MAXIMUM_LENGTH
# OWASP's choice for argon2id: 19 MiB a hash, so that a storm of log-ins does not take the machine's memory.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Check(NamedTuple):
    """``is_outdated``: right, but to be hashed anew, in today's form and at today's costs."""

    is_right: bool
    is_outdated: bool


def require_usable(password: str) -> None:
    """Raises `InvalidValue` unless the length lies within the limits."""
    if not MINIMUM_LENGTH <= len(_forms(password)[0]) <= MAXIMUM_LENGTH:
        raise InvalidValue("password", f"must have {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters")


def hash_password(password: str) -> str:
    """Takes tens of milliseconds: call it outside a transaction."""
    return _HASHER.hash(_bytes(_forms(password)[0]))


def check(password_hash: str | None, password: str) -> Check:
    """Whether the password belongs to the hash. None (nobody has that e-mail) costs the same and is wrong."""
    present, *older = _forms(password)
    if _verify(password_hash, present):
        return Check(True, password_hash is not None and needs_rehash(password_hash))
    is_right_typed = any(_verify(password_hash, form) for form in older)
    return Check(is_right_typed, is_right_typed)


def is_right(password_hash: str | None, password: str) -> bool:
    """`check`, without whether the hash is outdated."""
    return check(password_hash, password).is_right


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other costs than today's."""
    return _HASHER.check_needs_rehash(password_hash)


def _forms(password: str) -> list[str]:
    """NFC first; of an ASCII password there is no other."""
    if len(password) > _LONGEST_TYPED:
        return [password]
    decomposed = unicodedata.normalize("NFD", password)
    return list(dict.fromkeys([composed(password), password, decomposed]))


def _verify(password_hash: str | None, form: str) -> bool:
    try:
        return _HASHER.verify(password_hash or _nobodys_hash(), _bytes(form)) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return hash_password("nobody's password")


def _bytes(password: str) -> bytes:
    """Anything a form may carry, lone surrogates too, is only a wrong password."""
    return password.encode("utf-8", "surrogatepass")
