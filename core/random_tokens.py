"""Random bearer tokens: shown once, stored as SHA-256. 256 random bits need no salt and no slow hash."""

import hashlib
import secrets


def make(prefix: str) -> str:
    """Return a new secret that begins with ``prefix``."""
    # By the prefix, secret scanners recognize a token that has leaked.
    return prefix + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return the SHA-256 by which a token is stored and looked up."""
    # `surrogatepass`, so that any text that a client may send has a digest.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
