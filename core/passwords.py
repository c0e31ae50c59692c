"""People's passwords: argon2id hashes, and an answer that takes as long for a stranger as for a user."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import InvalidValue

MINIMUM_LENGTH = 8
MAXIMUM_LENGTH = 200
# OWASP's choice for argon2id: 19 MiB a hash, so that a storm of log-ins does not take the machine's memory.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def require_usable(password: str) -> None:
    """Raises `InvalidValue` unless the length lies within the limits."""
    if not MINIMUM_LENGTH <= len(password) <= MAXIMUM_LENGTH:
        raise InvalidValue("password", f"must have {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters")


def hash_password(password: str) -> str:
    """Takes tens of milliseconds: call it outside a transaction."""
    return _HASHER.hash(_bytes(password))


def is_right(password_hash: str | None, password: str) -> bool:
    """Whether the password belongs to the hash. None (nobody has that e-mail) costs the same and is False."""
    try:
        return (
            _HASHER.verify(password_hash or _nobodys_hash(), _bytes(password)) and password_hash is not None
        )
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other costs than today's."""
    return _HASHER.check_needs_rehash(password_hash)


@cache
def _nobodys_hash() -> str:
    return hash_password("nobody's password")


def _bytes(password: str) -> bytes:
    """Anything a form may carry, lone surrogates too, is only a wrong password."""
    return password.encode("utf-8", "surrogatepass")
